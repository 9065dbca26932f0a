/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions through the RESP door, and `onecopy session`. */
#include <jansson.h>
#include <onecopy/session.h>
#include "tests/prog/respc.h"
#include "tests/prog/run.h"

#define PART (16 * KIB)
#define KEY1 "1111111111111111111111111111111111111111111111111111111111111111"
#define KEY2 "2222222222222222222222222222222222222222222222222222222222222222"
#define KEY3 "3333333333333333333333333333333333333333333333333333333333333333"

#define NO_SESSION "-ERR no such session\r\n"
#define STALE	   "-STALE it has other keys, or fewer\r\n"
#define NOT_INT	   "-ERR value is not an integer or out of range\r\n"
#define SYNTAX	   "-ERR syntax error\r\n"
#define BAD_KEY	   "-ERR a key has 32 bytes, or 64 hexadecimal digits\r\n"
#define BAD_NAME                                             \
	"-ERR a session's name has 1 to 63 printable ASCII " \
	"characters\r\n"

static const struct {
	const char *request, *answer;
} says[] = {
	{ "SESSION LIST", "*2\r\n$1\r\n0\r\n*0\r\n" },
	{ "SESSION OPEN chat none", "-ERR no such namespace\r\n" },
	{ "SESSION OPEN chat 1", ":0\r\n" },
	{ "SESSION OPEN chat 1 NEW",
	  "-EXISTS a session of this name is there\r\n" },
	{ "SESSION OPEN chat 1 LEASE 60000", ":0\r\n" },
	{ "SESSION OPEN chat 1 LEASE x", NOT_INT },
	{ "SESSION OPEN chat 1 LEASE", SYNTAX },
	{ "SESSION OPEN chat 1 BOGUS", SYNTAX },
	{ "SESSION OPEN \"a\\x01\" 1", BAD_NAME },
	{ "SESSION OPEN \"\" 1", BAD_NAME },
	{ "SESSION APPEND chat " KEY1 " " KEY2, ":2\r\n" },
	{ "SESSION APPEND chat AT 1 " KEY2, ":2\r\n" },
	{ "SESSION APPEND chat AT 1 " KEY3, STALE },
	{ "SESSION APPEND chat AT 3 " KEY3, STALE },
	{ "SESSION APPEND chat AT x " KEY3, NOT_INT },
	{ "SESSION APPEND chat 12", BAD_KEY },
	{ "SESSION APPEND none " KEY1, NO_SESSION },
	{ "SESSION APPEND chat 01234567890123456789012345678901", ":3\r\n" },
	{ "SESSION FORK chat other", ":3\r\n" },
	{ "SESSION FORK chat other",
	  "-EXISTS a session of this name is there\r\n" },
	{ "SESSION FORK chat early BLOCKS 1 LEASE 5000", ":1\r\n" },
	{ "SESSION FORK chat late BLOCKS 4", STALE },
	{ "SESSION FORK none late", NO_SESSION },
	{ "SESSION LIST 0 COUNT 2",
	  "*2\r\n$1\r\n2\r\n*2\r\n$4\r\nchat\r\n$5\r\nother\r\n" },
	{ "SESSION LIST 2", "*2\r\n$1\r\n0\r\n*1\r\n$5\r\nearly\r\n" },
	{ "SESSION LIST x", "-ERR invalid cursor\r\n" },
	{ "SESSION PAUSE chat RETURN 1000 LEASE 5000", "+OK\r\n" },
	{ "SESSION PAUSE chat BOGUS 1", SYNTAX },
	{ "SESSION PAUSE chat ANSWER 120 ended Tool", "+OK\r\n" },
	{ "SESSION PAUSE chat ENDED well", SYNTAX },
	{ "SESSION PAUSE chat ENDED", SYNTAX },
	{ "SESSION RESUME chat", "+OK\r\n" },
	{ "SESSION RESUME none", NO_SESSION },
	{ "SESSION EXPECT chat RETURN 1000 none RETURN 5 other return 0",
	  ":2\r\n" },
	{ "SESSION EXPECT none RETURN 1000", ":0\r\n" },
	{ "SESSION EXPECT \"\" RETURN 1000", ":0\r\n" },
	{ "SESSION EXPECT chat RETURN 1000 other", SYNTAX },
	{ "SESSION EXPECT chat RETURN 1000 other RETURN", SYNTAX },
	{ "SESSION EXPECT chat AFTER 1000", SYNTAX },
	{ "SESSION EXPECT chat RETURN x", NOT_INT },
	{ "SESSION EXPECT chat RETURN -1", NOT_INT },
	{ "SESSION EXPECT chat",
	  "-ERR wrong number of arguments for 'session|expect' command\r\n" },
	{ "SESSION CLOSE early", ":1\r\n" },
	{ "SESSION CLOSE early", ":0\r\n" },
	{ "SESSION INFO early", "$-1\r\n" },
	{ "SESSION INFO",
	  "-ERR wrong number of arguments for 'session|info' command\r\n" },
	{ "SESSION BOGUS",
	  "-ERR unknown subcommand 'BOGUS'. Try SESSION HELP.\r\n" },
	{ "SESSION HELP",
	  "*10\r\n+SESSION <subcommand> ... Subcommands are:\r\n+open\r\n"
	  "+append\r\n+fork\r\n+pause\r\n+resume\r\n+close\r\n+info\r\n"
	  "+list\r\n+expect\r\n" },
	{ "SESSION",
	  "-ERR wrong number of arguments for 'session' command\r\n" },
};

/* As many as may be, and one more. */
static void expect_many(struct respc *c)
{
	for (unsigned n = 256; n <= 257; n++) {
		respc_say(c, "SESSION EXPECT");
		for (unsigned i = 0; i < n; i++)
			respc_say(c,
				  i % 2 ? " chat RETURN 9" : " none RETURN 9");
		respc_say(c, "\r\n");
		respc_expect(c, n == 256 ? ":128\r\n"
					 : "-ERR at most 256 sessions at "
					   "once\r\n");
	}
}

TEST(the_resp_doors_answers)
{
	struct live n;
	struct respc *c;
	oc_client *client;
	oc_ns *ns;
	const char *info;
	size_t len;

	RESPC_NODE(&n, NULL, "--dram=32MiB");
	client = live_connect(&n);
	ns = live_ns(client, PART);
	c = respc_open(respc_port(&n));
	CHECK_INT(oc_ns_id(ns), ==, 1);
	for (size_t i = 0; i < ARRAY_LEN(says); i++) {
		respc_say(c, says[i].request);
		respc_say(c, "\r\n");
		respc_expect(c, says[i].answer);
	}
	/* what a map says, in RESP2 */
	RESPC(c, "SESSION", "INFO", "chat");
	info = respc_answer(c, &len);
	CHECK(!strncmp(info, "*38\r\n$4\r\nname\r\n$4\r\nchat\r\n", 25));
	CHECK(strstr(info, "$5\r\nturns\r\n:2\r\n"));
	CHECK(strstr(info, "$11\r\nresident_on\r\n*0\r\n"));
	CHECK(strstr(info, "$9\r\nhot_since\r\n:"));
	CHECK(strstr(info, "$11\r\nshared_with\r\n:1\r\n"));
	CHECK(strstr(info, "$13\r\nshared_blocks\r\n:3\r\n"));
	CHECK(strstr(info, "$11\r\nprefix_hash\r\n$64\r\n3031323334353637"));
	CHECK(strstr(info, "$8\r\nevict_to\r\n$4\r\nnone\r\n"));
	expect_many(c);
	/* a connection's end is nobody's */
	respc_close(c);
	c = respc_open(respc_port(&n));
	RESPC_IS(c, ":4\r\n", "SESSION", "APPEND", "chat", KEY1);
	live_check(client);
	respc_close(c);
	oc_ns_close(ns);
	oc_client_close(client);
	live_stop(&n);
}

/* One that a process owns is not appended to from here. */
TEST(a_process_keeps_its_session_to_itself)
{
	struct oc_session_options o = OC_SESSION_INIT;
	struct oc_session_turn turn = OC_SESSION_TURN_INIT;
	struct live n;
	struct respc *c;
	oc_client *client;
	oc_session *s;
	oc_ns *ns;

	RESPC_NODE(&n, NULL, "--dram=32MiB");
	client = live_connect(&n);
	ns = live_ns(client, PART);
	o.name = "mine";
	CHECK_OK(oc_session_open(ns, &o, 0, &s));
	c = respc_open(respc_port(&n));
	RESPC_IS(c, "-BUSY a client has this session\r\n", "SESSION", "APPEND",
		 "mine", KEY1);
	RESPC_IS(c, "-BUSY a client has this session\r\n", "SESSION", "OPEN",
		 "mine", "1");
	RESPC_IS(c, ":0\r\n", "SESSION", "FORK", "mine", "theirs");
	CHECK_OK(oc_session_pause(s, 0, 0, 0));
	turn.ended = 99;
	CHECK_INT(oc_session_pause_after(s, &turn, 0), ==, -EINVAL);
	turn.ended = OC_ANSWER_TURN;
	CHECK_OK(oc_session_pause_after(s, &turn, 0));
	RESPC_IS(c, ":0\r\n", "SESSION", "OPEN", "mine", "1");
	RESPC_IS(c, ":1\r\n", "SESSION", "APPEND", "mine", KEY1);
	CHECK_OK(oc_session_refresh(s, 0));
	CHECK_INT(oc_session_blocks(s), ==, 1);
	oc_session_leave(s);
	respc_close(c);
	oc_ns_close(ns);
	oc_client_close(client);
	live_stop(&n);
}

static json_t *json_of(struct run r, int status)
{
	json_t *root = json_loads(r.out, 0, NULL);

	CHECK_INT(r.status, ==, status);
	CHECK(root);
	run_free(&r);
	return root;
}

static void plain(struct run r, int status, const char *out, const char *err)
{
	CHECK_INT(r.status, ==, status);
	if (out && !strstr(r.out, out))
		FAIL("no '%s' in: %s", out, r.out);
	if (err && !strstr(r.err, err))
		FAIL("no '%s' in: %s", err, r.err);
	run_free(&r);
}

/* While there is a session "chat". */
static void mistakes(const struct live *n)
{
	plain(RUN("session", "--node", n->socket, "close", "none"), 1, NULL,
	      "no such session");
	plain(RUN("session", "--node", n->socket, "fork", "chat", "chat"), 1,
	      NULL, "is there");
	plain(RUN("session", "--node", n->socket, "fork", "chat"), 2, NULL,
	      "two names");
	plain(RUN("session", "--node", n->socket, "fork", "chat", "a\tb"), 2,
	      NULL, "printable");
	plain(RUN("session", "--node", n->socket, "close"), 2, NULL,
	      "needs a name");
	plain(RUN("session", "--node", n->socket, "list", "chat"), 2, NULL,
	      "takes no name");
	plain(RUN("session", "--node", n->socket, "bogus"), 2, NULL, "");
	plain(RUN("session", "--node", "/nonexistent/x", "list"), 3, NULL, "");
}

TEST(the_command)
{
	struct oc_session_options o = OC_SESSION_INIT;
	struct oc_key keys[3] = { live_key(1), live_key(2), live_key(3) };
	struct live n;
	oc_client *client;
	oc_session *s, *nameless;
	json_t *root, *one, *record;
	char id[40];
	oc_ns *ns;

	live_start(&n, "--dram=32MiB");
	client = live_connect(&n);
	ns = live_ns(client, PART);
	plain(RUN("session", "--node", n.socket, "list"), 0, "no sessions",
	      NULL);
	o.name = "chat";
	CHECK_OK(oc_session_open(ns, &o, 0, &s));
	CHECK_OK(oc_session_append(s, keys, 3, 0));
	CHECK_OK(live_write(ns, 1, PART));
	o.name = NULL;
	CHECK_OK(oc_session_open(ns, &o, 0, &nameless));
	root = json_of(RUN("session", "--json", "--node", n.socket, "list"), 0);
	CHECK_INT(json_array_size(root), ==, 2);
	json_decref(root);
	plain(RUN("session", "--node", n.socket, "list"), 0, "chat", NULL);
	root = json_of(RUN("session", "--json", "--node", n.socket, "fork",
			   "--blocks", "2", "chat", "branch"),
		       0);
	one = json_array_get(root, 0);
	CHECK_INT(json_integer_value(json_object_get(one, "blocks")), ==, 2);
	record = json_object_get(one, "record");
	CHECK_INT(json_array_size(json_object_get(record, "resident_on")), ==,
		  1);
	CHECK_INT(json_integer_value(json_object_get(record, "shared_blocks")),
		  ==, 2);
	CHECK(json_is_integer(json_object_get(record, "hot_since")));
	CHECK_STR(json_string_value(json_object_get(record, "evict_to")),
		  "none");
	CHECK_INT(strlen(json_string_value(
			  json_object_get(record, "prefix_hash"))),
		  ==, 64);
	json_decref(root);
	plain(RUN("session", "--node", n.socket, "show", "chat"), 0,
	      "resident_on          dram: 1 blocks", NULL);
	plain(RUN("session", "--node", n.socket, "show", "chat"), 0, " ago\n",
	      NULL); /* hot_since */
	plain(RUN("session", "--node", n.socket, "pause", "--return", "30s",
		  "--ended", "tool", "--answer", "9", "chat"),
	      0, "paused", NULL);
	plain(RUN("session", "--node", n.socket, "expect", "--return", "90s",
		  "chat", "none"),
	      1, "expected_return_ms", "none: no such session");
	plain(RUN("session", "--node", n.socket, "resume", "chat"), 0, "active",
	      NULL);
	/* the operator did not take it */
	CHECK_OK(oc_session_append(s, keys, 1, 0));
	snprintf(id, sizeof(id), "#%llu",
		 (unsigned long long)oc_session_id(nameless));
	plain(RUN("session", "--node", n.socket, "close", id, "branch"), 0, "",
	      NULL);
	plain(RUN("session", "--node", n.socket, "show", id), 1, NULL,
	      "no such session");
	mistakes(&n);
	oc_session_leave(nameless);
	oc_session_leave(s);
	live_check(client);
	oc_ns_close(ns);
	oc_client_close(client);
	live_stop(&n);
}
