//! Transcripts: commands, and what they answer.
