int x; // no comment in front
