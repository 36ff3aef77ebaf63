/* test_none.c - a test that runs nothing. */
int main(void)
{
}
