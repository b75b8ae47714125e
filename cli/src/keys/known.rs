//! Keys whose private keys are published, by thumbprint (RFC 7638).

/// Returns the place where the private key is published.
pub(crate) fn published_in(thumbprint: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == thumbprint).map(|(_, place)| *place)
}

const KNOWN: [(&str, &str); 7] = [
    ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RFC 7517 appendix A.2"),
    ("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "RFC 8037 appendix A.1"),
    ("oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "RFC 7515 appendix A.3"),
    ("IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8", "RFC 7515 appendix A.2"),
    ("jfSyN7g0jSf9JPuzvV64LjNVPYU2S_f80VCGb1EZ5sw", "the test kit of tower-introspect"),
    ("icLLYC1kEUXOO7FNhTTLN96z2kqNJQmYM2H5xHTynEs", "the test kit of tower-introspect"),
    ("iY4lRegDkKQ3l3IMwXZTsYxwAVa7IRHLK-TQ_fQ9Wbk", "the test kit of tower-introspect"),
];
