"""Device physics: one module per class, each a pure ``step`` from state to state. No registers, no clock, no grid."""
