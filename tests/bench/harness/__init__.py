"""The bench's harness; scripts/dev/bench is its command."""
