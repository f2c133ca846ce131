//! Tests of the page on made-up tables: everything hostile is text, and what is wrong comes first.
