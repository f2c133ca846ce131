//! Each thing that makes a move impossible is found before anything is touched.
