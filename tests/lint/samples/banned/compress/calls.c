/* calls.c - calls malloc() only in this comment, and then really. */
static int ahead(int a);
static int
ahead_too(int a,
	  int b);
static const char *text = "malloc(1) /* "; /* system("x") */
static int fine(int a)
{
	return a;
}
void *f(void)
{
	return malloc(7);
}
