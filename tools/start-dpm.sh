#!/usr/bin/env bash
# Starts a dpm node from environment variables; see start.sh.
exec "$(dirname "${BASH_SOURCE[0]}")/start.sh" dpm "$@"
