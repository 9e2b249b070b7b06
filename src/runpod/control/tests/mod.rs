//! Both control planes.
