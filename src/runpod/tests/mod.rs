//! The client against a server that misbehaves on purpose.

mod balanced;
mod cancel;
mod faults;
mod hostile;
mod http2;
mod many;
mod server;
mod stream;
mod tls;
mod unhealthy;
mod upload;
