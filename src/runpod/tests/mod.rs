//! The client against a server that misbehaves on purpose.

mod balanced;
mod cancel;
mod faults;
mod many;
mod server;
mod stream;
mod unhealthy;
