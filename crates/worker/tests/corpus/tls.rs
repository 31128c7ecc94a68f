//! 54: connections that fail before a word of HTTP.
