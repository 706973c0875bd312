//! `tributary-stage`: the stage from the command line.

fn main() {}
