//! `flash run`: project routes on top of a backend, OpenAPI, docs page, watch and reload.
//!
//! Holds no queue, worker or job code: it is tested on a fake backend as well. Must never know
//! GraphQL.
