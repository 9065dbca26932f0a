/* SPDX-License-Identifier: Apache-2.0 */
#include "pem.h"
#include <errno.h>
#include <stdlib.h>
#include "base/fault.h"
#include "file.h"

#define CAP (PEM_BYTES_MAX + 1) /* one more tells that it is too large */

static int take_text(const char *buf, size_t len, char **ret_text)
{
	char *text;

	if (len > PEM_BYTES_MAX)
		return -EFBIG;
	if (!len || memchr(buf, 0, len))
		return -EINVAL;
	text = mem_alloc(len + 1);
	if (!text)
		return -ENOMEM;
	memcpy(text, buf, len);
	*ret_text = text;
	return 0;
}

int pem_load(const char *path, char **ret_text)
{
	char *buf = mem_alloc(CAP);
	struct stat st;
	size_t len = 0;
	int r;

	if (!buf)
		return -ENOMEM;
	r = file_read(path, buf, CAP, &len, &st);
	if (r == 0)
		r = take_text(buf, len, ret_text);
	explicit_bzero(buf, CAP);
	free(buf);
	return r;
}

void pem_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}
