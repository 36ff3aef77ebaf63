/* state.c - two mutable variables among constants. */
static const int fine = 7;
const int *const fine_table[] = {&fine};
int counter;

int count(int by);
int count(int by)
{
	static _Thread_local int calls = 1;

	counter += by;
	return calls++ + *fine_table[0];
}
