/* blanks.c - blanks at the end. */ 
int x; /* TODO: later */
int y; /* FIXME(#3), with its issue */
