//! The rule: oracles O3 to O19 and O22, the fixed vector of section 10.1, and all forms against each other.

mod case;
mod channels;
mod decay;
mod forms;
mod inverse;
mod properties;
mod seen;
mod vector;
