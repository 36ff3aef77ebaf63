/* carry.h - uses a type that it does not bring, and declares what is not there. */
int carry_here(int a);
int carry_gone(uint32_t a); /* carry_comment(1) */
