//! Federated lottery tickets: the server prunes, the clients train sign supermasks
//! (arXiv 2206.04385).
//!
//! Nothing is implemented yet: this page keeps the crate's place in the workspace. It
//! will hold saliency pruning, sign-supermask layers, client, server, and a codec that
//! counts every byte.
