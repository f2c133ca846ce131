//! What a move does on two shards, piece by piece and without a mover: the moment between copy and
//! stream, the fence, the guards, clean-up, sequences, the removal of everything, and the look
//! whether a move is possible.

mod cases;
mod copying;
mod fences;
mod leaving;
mod stream;
mod world;
