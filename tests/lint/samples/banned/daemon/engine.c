/* engine.c - reads a clock, copies without a limit; members may be called anything. */
int f(struct x *x)
{
	x->system(1);
	strcpy(x->a, x->b);
	return clock_gettime(0, 0) + atoi("1");
}
