//go:build planted

package planted

import "os"

// Possible says whether this build can have bugs planted.
const Possible = true

var active = Bug(os.Getenv(Variable))

// Has says whether this process has the bug.
func Has(b Bug) bool { return b == active }

// Plant plants a bug, "" for none, while nothing runs that asks for it.
func Plant(b Bug) { active = b }
