//! `flash_manifest.json`: schema and builder (project → manifest).
//!
//! Keys and values are those of the official 1.21 (`cli.md` 3), plus what it drops.
