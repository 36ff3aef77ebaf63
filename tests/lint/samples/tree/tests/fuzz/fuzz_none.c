/* fuzz_none.c - a fuzzer without a corpus. */
