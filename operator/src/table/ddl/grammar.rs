//! Grammar of StarRocks DDL.
