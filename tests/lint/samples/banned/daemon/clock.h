/* clock.h - may read it. */
int f(struct x *x)
{
	return clock_gettime(0, 0);
}
