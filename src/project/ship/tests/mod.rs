//! Tests of what travels.
