/* bad.c - an opening brace at the wrong place. */
struct fine {
	int a;      /* columns of comments are free,
		       and so is their indentation */
	long count; /* free */
};

int f(int a) {
	return a;
}
