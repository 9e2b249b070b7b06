//! What crosses a boundary: worker frames and messages, payload segments, job JSON, backends.
//!
//! A frame is a fixed header, a `MessagePack` head and raw buffers; buffers are never encoded.
//! Knows the endpoint's words; must never know who sends.

pub mod answer;
pub mod backend;
pub mod base64;
pub mod error;
pub mod frame;
pub mod function;
pub mod job;
pub mod limits;
pub mod message;
pub mod payload;
pub mod pickle;

pub use backend::{Backend, BoxFuture};
pub use error::WireError;
pub use frame::{Frame, FrameKind};
