//go:build planted

package cluster

import "github.com/dinomo-kv/dinomo/internal/planted"

// Nodes have the bug that this process was asked to have.
func init() { passed = append(passed, planted.Variable) }
