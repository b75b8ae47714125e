//! A week of rotations, outages and restarts, in paused time.
