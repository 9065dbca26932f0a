/* SPDX-License-Identifier: Apache-2.0 */
/* A message from the other side of the socket: accepted ones are canonical. */
#include "base/log.h"
#include "wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union msg m, again;

	if (msg_check(data, size, &m))
		return 0;
	must(m.head.bytes == size && msg_bytes(m.head.type) == size);
	must(memcmp(&m, data, size) == 0);
	must(msg_check(&m, size, &again) == 0);
	must(memcmp(&m, &again, sizeof(m)) == 0);
	if (m.head.type == MSG_HELLO)
		must(strlen(m.hello.tenant) < MSG_NAME &&
		     strlen(m.hello.name) < MSG_NAME);
	if (m.head.type == MSG_ERROR)
		must(m.error.error < 0);
	return 0;
}
