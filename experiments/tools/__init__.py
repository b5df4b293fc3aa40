"""Evidence: the audit of Keras, the benchmark, the check of gradients. Nothing else imports them."""
