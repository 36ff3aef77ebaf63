/* text.c - see text.h. */
#include "proto/text.h"

#include <arpa/inet.h>
#include <string.h>

bool text_ok(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == 0)
			return true;
		if (c < 0x20 || c == 0x7f)
			return false;
	}
	return false;
}

bool text_named(const char *text, size_t bytes)
{
	return text_ok(text, bytes) && text[0];
}

bool text_address_ok(const char *text, size_t bytes)
{
	char host[INET6_ADDRSTRLEN];
	struct in6_addr parsed;
	const char *scope;
	size_t length;

	if (!text_named(text, bytes))
		return false;
	scope = strchr(text, '%');
	length = scope ? (size_t)(scope - text) : strlen(text);
	if (length >= sizeof(host))
		return false;
	memcpy(host, text, length);
	host[length] = 0;
	if (inet_pton(AF_INET6, host, &parsed) == 1)
		return !scope || scope[1];
	return !scope && inet_pton(AF_INET, host, &parsed) == 1;
}
