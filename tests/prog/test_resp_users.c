/* SPDX-License-Identifier: Apache-2.0 */
/* Users, passwords and tenants of the RESP door. */
#include "tests/prog/respc.h"

#define NOAUTH "-NOAUTH Authentication required.\r\n"
#define WRONG                                                   \
	"-WRONGPASS invalid username-password pair or user is " \
	"disabled.\r\n"
#define HELLO_NOAUTH                                                \
	"-NOAUTH HELLO must be called with the client already "     \
	"authenticated, otherwise the HELLO <proto> AUTH <user> "   \
	"<pass> option can be used to authenticate the client and " \
	"select the RESP protocol version at the same time\r\n"

static const char two_tenants[] = "dram: 64M\n"
				  "tenants:\n"
				  "  - name: red\n"
				  "  - name: blue\n"
				  "resp:\n"
				  "  max_connections: 50\n"
				  "  password: the-default-password\n"
				  "  users:\n"
				  "    - name: ruth\n"
				  "      tenant: red\n"
				  "      password: ruths-password-1\n"
				  "    - name: rob\n"
				  "      tenant: red\n"
				  "      password: robs-password-12\n"
				  "    - name: beth\n"
				  "      tenant: blue\n"
				  "      password: beths-password-1\n";

static struct respc *as(const struct live *n, const char *user,
			const char *password)
{
	struct respc *c = respc_open(respc_port(n));

	RESPC_IS(c, "+OK\r\n", "AUTH", user, password);
	return c;
}

TEST(nothing_without_a_password)
{
	static const char *const commands[] = {
		"PING",	   "ECHO x",   "GET a",	   "SET a b",  "DBSIZE",
		"FLUSHDB", "SCAN 0",   "INFO",	   "TIME",     "CLIENT LIST",
		"COMMAND", "SELECT 0", "EXISTS a", "MGET a b",
	};
	struct respc *c;
	struct live n;

	RESPC_NODE(&n, two_tenants, NULL);
	c = respc_open(respc_port(&n));
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		respc_say(c, commands[i]);
		respc_say(c, "\r\n");
		respc_expect(c, NOAUTH);
	}
	RESPC_IS(c, HELLO_NOAUTH, "HELLO", "3");
	RESPC_IS(c, HELLO_NOAUTH, "HELLO");
	RESPC_IS(c, "+RESET\r\n", "RESET");
	RESPC_IS(c, "+OK\r\n", "QUIT");
	respc_await_end(c);
	respc_close(c);
	live_stop(&n);
}

TEST(each_form_of_saying_who_it_is)
{
	struct respc *c;
	oc_client *own;
	struct live n;
	size_t len;

	RESPC_NODE(&n, two_tenants, NULL);
	c = respc_open(respc_port(&n));
	RESPC_IS(c, WRONG, "AUTH", "the-default-passwor");
	RESPC_IS(c, WRONG, "AUTH", "");
	RESPC_IS(c, WRONG, "AUTH", "ruth", "robs-password-12");
	RESPC_IS(c, WRONG, "AUTH", "nobody", "the-default-password");
	RESPC_IS(c, WRONG, "AUTH", "Ruth", "ruths-password-1");
	RESPC_IS(c, WRONG, "HELLO", "3", "AUTH", "ruth", "x");
	RESPC_IS(c, NOAUTH, "GET", "a"); /* RESP2 still: errors look the same */
	own = live_connect(&n);
	CHECK_INT(respc_counter(own, "auth_failures"), ==, 6);
	oc_client_close(own);
	RESPC_IS(c, "+OK\r\n", "AUTH", "the-default-password");
	RESPC_IS(c, "$-1\r\n", "GET", "a");
	RESPC_IS(c, WRONG, "AUTH", "wrong");
	RESPC_IS(c, "$-1\r\n", "GET", "a"); /* who it was, it still is */
	RESPC_IS(c, "+OK\r\n", "AUTH", "default", "the-default-password");
	RESPC_IS(c, "+RESET\r\n", "RESET");
	RESPC_IS(c, NOAUTH, "GET", "a");
	RESPC(c, "HELLO", "3", "AUTH", "ruth", "ruths-password-1", "SETNAME",
	      "r");
	CHECK_INT(respc_answer(c, &len)[0], ==, '%');
	RESPC_IS(c, "_\r\n", "GET", "a");
	RESPC_IS(c, "$1\r\nr\r\n", "CLIENT", "GETNAME");
	respc_close(c);
	live_stop(&n);
}

static bool answer_has(struct respc *c, const char *text)
{
	size_t len;
	const char *at = respc_answer(c, &len);

	CHECK(at != NULL);
	return memmem(at, len, text, strlen(text)) != NULL;
}

TEST(tenants_do_not_see_each_other)
{
	struct respc *red, *also, *blue, *nobody;
	struct live n;

	RESPC_NODE(&n, two_tenants, NULL);
	red = as(&n, "ruth", "ruths-password-1");
	also = as(&n, "rob", "robs-password-12");
	blue = as(&n, "beth", "beths-password-1");
	nobody = as(&n, "default", "the-default-password");
	respc_set(red, "k", 1, 100);
	respc_set(red, "long", 1, 100000);
	CHECK_INT(respc_get(also, "k", 1, 100), ==, 0);
	CHECK_INT(respc_get(blue, "k", 1, 100), ==, 1);
	CHECK_INT(respc_get(nobody, "k", 1, 100), ==, 1);
	respc_set(blue, "k", 2, 200);
	respc_set(blue, "long", 2, 200000);
	CHECK_INT(respc_get(red, "k", 1, 100), ==, 0);
	CHECK_INT(respc_get(red, "long", 1, 100000), ==, 0);
	CHECK_INT(respc_get(blue, "k", 2, 200), ==, 0);
	CHECK_INT(respc_get(blue, "long", 2, 200000), ==, 0);
	RESPC_IS(red, ":2\r\n", "DBSIZE");
	RESPC_IS(nobody, ":0\r\n", "DBSIZE");
	respc_set(blue, "blues", 2, 200);
	RESPC_IS(red, ":0\r\n", "EXISTS", "blues");
	RESPC(red, "SCAN", "0", "COUNT", "10000");
	CHECK(!answer_has(red, "blues"));
	RESPC(blue, "SCAN", "0", "COUNT", "10000");
	CHECK(answer_has(blue, "blues"));
	RESPC_IS(red, ":0\r\n", "DEL", "blues");
	RESPC_IS(red, "+OK\r\n", "FLUSHALL");
	RESPC_IS(red, ":0\r\n", "DBSIZE");
	CHECK_INT(respc_get(also, "k", 1, 100), ==, 1);
	CHECK_INT(respc_get(blue, "k", 2, 200), ==, 0);
	CHECK_INT(respc_get(blue, "long", 2, 200000), ==, 0);
	RESPC_IS(blue, ":3\r\n", "DBSIZE");
	RESPC_IS(red, "+OK\r\n", "CLIENT", "SETNAME", "scarlet");
	RESPC(also, "CLIENT", "LIST");
	CHECK(answer_has(also, "scarlet"));
	RESPC(blue, "CLIENT", "LIST");
	CHECK(!answer_has(blue, "scarlet"));
	RESPC(blue, "CLIENT", "LIST");
	CHECK(!answer_has(blue, "user=ruth"));
	CHECK_INT(respc_info(blue, "connected_clients"), ==, 1);
	CHECK_INT(respc_info(red, "connected_clients"), ==, 2);
	/* one becomes another */
	RESPC_IS(red, "+OK\r\n", "AUTH", "beth", "beths-password-1");
	CHECK_INT(respc_get(red, "k", 2, 200), ==, 0);
	CHECK_INT(respc_info(blue, "connected_clients"), ==, 2);
	respc_close(red);
	respc_close(also);
	respc_close(blue);
	respc_close(nobody);
	live_stop(&n);
}

/* Who is nobody gets no memory: neither for long words nor for many. */
TEST(a_long_value_before_the_password)
{
	struct respc *c, *good;
	oc_client *own;
	struct live n;

	RESPC_NODE(&n, two_tenants, NULL);
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	respc_say(c, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n");
	respc_await_end(c);
	respc_close(c);
	c = respc_open(respc_port(&n));
	respc_say(c, "*2\r\n$4\r\nAUTH\r\n$1000000\r\n");
	respc_await_end(c);
	respc_close(c);
	CHECK_INT(live_counter(own, "grants"), ==, 0);
	/* in one pipeline, who it is comes first */
	good = respc_open(respc_port(&n));
	RESPC(good, "AUTH", "the-default-password");
	respc_set_send(good, "a", 1, 1000000);
	respc_expect(good, "+OK\r\n");
	respc_expect(good, "+OK\r\n");
	CHECK_INT(respc_get(good, "a", 1, 1000000), ==, 0);
	respc_close(good);
	oc_client_close(own);
	live_stop(&n);
}

/* A password in pieces, and behind its last one more than a nobody may send. */
TEST(a_password_in_pieces_before_a_long_value)
{
	static const char head[] = "*2\r\n$4\r\nAUTH\r\n$20\r\nthe-def";
	static const char rest[] = "ault-password\r\n"
				   "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$40000\r\n";
	static char text[sizeof(rest) - 1 + 40000 + 2];
	struct respc *c, *more;
	oc_client *own;
	struct live n;

	RESPC_NODE(&n, two_tenants, NULL);
	own = live_connect(&n);
	c = respc_open(respc_port(&n));
	respc_say(c, head);
	LIVE_WAIT(&n, respc_counter(own, "received_bytes") == strlen(head));
	memcpy(text, rest, sizeof(rest) - 1);
	respc_bytes(7, text + sizeof(rest) - 1, 40000);
	memcpy(text + sizeof(text) - 2, "\r\n", 2);
	respc_send(c, text, sizeof(text));
	respc_expect(c, "+OK\r\n");
	respc_expect(c, "+OK\r\n");
	CHECK_INT(respc_get(c, "a", 7, 40000), ==, 0);
	respc_close(c);
	/* one whose password does not come has no more than before */
	more = respc_open(respc_port(&n));
	respc_say(more, head);
	memset(text, 'x', sizeof(text));
	if (respc_try_send(more, text, sizeof(text)))
		respc_await_end(more);
	respc_close(more);
	oc_client_close(own);
	live_stop(&n);
}

/* A value under way is of who sent it, whatever else that one says behind it. */
TEST(who_changes_in_the_middle_of_a_pipeline)
{
	struct respc *c;
	struct live n;

	RESPC_NODE(&n, two_tenants, NULL);
	c = as(&n, "ruth", "ruths-password-1");
	for (unsigned i = 0; i < LIVE_N(100u) + 1; i++) {
		respc_set_send(c, "k", i, 50000);
		RESPC(c, "AUTH", "beth", "beths-password-1");
		RESPC(c, "GET", "k");
		respc_set_send(c, "k", 1000 + i, 50000);
		RESPC(c, "AUTH", "ruth", "ruths-password-1");
		RESPC(c, "GET", "k");
		respc_expect(c, "+OK\r\n");
		respc_expect(c, "+OK\r\n");
		CHECK_INT(respc_value(c, 999 + i, 50000), ==, i == 0);
		respc_expect(c, "+OK\r\n");
		respc_expect(c, "+OK\r\n");
		CHECK_INT(respc_value(c, i, 50000), ==, 0);
	}
	respc_close(c);
	live_stop(&n);
}

TEST(a_tenant_has_its_quota)
{
	struct respc *c, *other;
	struct live n;

	RESPC_NODE(&n,
		   "dram: 64M\n"
		   "tenants:\n"
		   "  - name: small\n"
		   "    dram: 8M\n"
		   "resp:\n"
		   "  users:\n"
		   "    - name: sam\n"
		   "      tenant: small\n"
		   "      password: sams-password-12\n"
		   "    - name: dan\n"
		   "      password: dans-password-12\n",
		   NULL);
	c = as(&n, "sam", "sams-password-12");
	other = as(&n, "dan", "dans-password-12");
	respc_set(other, "mine", 5, 1000000);
	for (unsigned i = 0; i < 40; i++) {
		char key[16];

		snprintf(key, sizeof(key), "q%u", i);
		respc_set(c, key, i, 1000000);
		CHECK_INT(respc_get(c, key, i, 1000000), ==, 0);
	}
	CHECK_INT(respc_info(c, "used_memory"), <=, 8 * MIB);
	CHECK_INT(respc_info(c, "maxmemory"), ==, 8 * MIB);
	CHECK_INT(respc_get(other, "mine", 5, 1000000), ==, 0);
	RESPC(c, "SET", "k", "v"); /* small ones find room as well */
	respc_expect(c, "+OK\r\n");
	respc_close(c);
	respc_close(other);
	live_stop(&n);
}
