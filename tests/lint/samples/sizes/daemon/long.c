/* long.c - a function, a line and a file that are too long. */
int short_enough(void)
{
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
}

int
too_long(void)
{
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
	;
}

#define LONG \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	; \
	;
	/* ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää */
	/* aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa */
    int spaces;
