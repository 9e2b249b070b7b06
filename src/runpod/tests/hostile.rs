//! Answers made to do harm: one clear error each, in bounded memory.
