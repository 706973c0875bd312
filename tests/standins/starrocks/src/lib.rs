//! starrocks
