"""Generated classes of the wire messages; see ../../generate.sh."""
