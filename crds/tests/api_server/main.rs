//! The CRDs, the examples and the chart before a real API server, through a real kubectl.

mod bad_yaml;
mod chart;
mod columns;
mod examples;
mod immutable;
mod objects;
mod server;
