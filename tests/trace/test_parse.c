/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/test.h"
#include "trace/trace.h"
#include <math.h>

#define REST "\"input_length\":2,\"output_length\":3,"
#define IDS  "\"hash_ids\":[1]}"

static int parse(const char *line, struct trace_request *r, char *error)
{
	return trace_parse_line(line, strlen(line), r, error);
}

TEST(all_fields)
{
	struct trace_request r = { 0 };
	char error[TRACE_ERROR];

	CHECK_OK(parse(
		"{\"timestamp\":19000,\"session\":4,\"agent\":\"main\","
		"\"model\":2,\"stop\":\"tool_use\",\"input_length\":72762,"
		"\"output_length\":296,\"hash_ids\":[0,1,9007199254740992],"
		"\"more\":{\"a\":[null,true]}}",
		&r, error));
	CHECK_INT(r.timestamp_ms, ==, 19000);
	CHECK_INT(r.session, ==, 4);
	CHECK_STR(r.agent, "main");
	CHECK_INT(r.model, ==, 2);
	CHECK_INT(r.stop, ==, TRACE_STOP_TOOL);
	CHECK_INT(r.input_length, ==, 72762);
	CHECK_INT(r.output_length, ==, 296);
	CHECK_INT(r.n_ids, ==, 3);
	CHECK_INT(r.ids[2], ==, TRACE_NUMBER_MAX);
	trace_request_fini(&r);
}

TEST(next_sessions)
{
	struct trace_request r = { 0 };
	char error[TRACE_ERROR];

	CHECK_OK(parse("{\"timestamp\":1," REST
		       "\"next\":[{\"session\":4,\"agent\":\"main\","
		       "\"model\":2,\"in_ms\":2000},"
		       "{\"in_ms\":0,\"session\":\"x\",\"more\":1}]," IDS,
		       &r, error));
	CHECK_INT(r.n_next, ==, 2);
	CHECK_INT(r.next[0].session, ==, 4);
	CHECK_INT(r.next[0].model, ==, 2);
	CHECK_INT(r.next[0].in_ms, ==, 2000);
	CHECK_STR(r.next[0].agent, "main");
	CHECK_INT(r.next[1].session, >, TRACE_NUMBER_MAX);
	CHECK_INT(r.next[1].model, ==, 0);
	CHECK_STR(r.next[1].agent, "");
	/* not those of the line before */
	CHECK_OK(parse("{\"timestamp\":1," REST IDS, &r, error));
	CHECK_INT(r.n_next, ==, 0);
	CHECK_OK(parse("{\"timestamp\":1," REST "\"next\":null," IDS, &r,
		       error));
	CHECK_INT(r.n_next, ==, 0);
	trace_request_fini(&r);
}

TEST(next_sessions_are_bounded)
{
	static const char one[] = "{\"session\":1,\"in_ms\":1},";
	struct trace_request r = { 0 };
	char error[TRACE_ERROR], *line = malloc(64 * TRACE_NEXT_MAX);

	CHECK(line);
	for (unsigned n = TRACE_NEXT_MAX; n <= TRACE_NEXT_MAX + 1; n++) {
		static const char head[] = "{\"timestamp\":1," REST
					   "\"next\":[";
		size_t at = sizeof(head) - 1;

		memcpy(line, head, at);
		for (unsigned i = 0; i < n; i++, at += sizeof(one) - 1)
			memcpy(line + at, one, sizeof(one));
		memcpy(line + at - 1, "]," IDS, sizeof("]," IDS));
		CHECK_INT(parse(line, &r, error), ==,
			  n > TRACE_NEXT_MAX ? -EINVAL : 0);
	}
	CHECK(strstr(error, "at most 256"));
	trace_request_fini(&r);
	free(line);
}

TEST(required_fields_alone)
{
	struct trace_request r = { 0 };
	char error[TRACE_ERROR];

	CHECK_OK(parse(" {\"timestamp\": 0, \"input_length\": 5.0, "
		       "\"output_length\": 1e3, \"hash_ids\": []} ",
		       &r, error));
	CHECK_INT(r.input_length, ==, 5);
	CHECK_INT(r.output_length, ==, 1000);
	CHECK_INT(r.session, ==, TRACE_NO_SESSION);
	CHECK_INT(r.stop, ==, TRACE_STOP_NONE);
	CHECK_STR(r.agent, "");
	CHECK_INT(r.n_ids, ==, 0);
	trace_request_fini(&r);
}

TEST(names_may_be_texts)
{
	struct trace_request a = { 0 }, b = { 0 };
	char error[TRACE_ERROR];

	CHECK_OK(parse("{\"timestamp\":1," REST "\"session\":\"x\","
		       "\"agent\":\"0123456789012345678901234567890\xc3\xa9\","
		       "\"stop\":\"end_turn\"," IDS,
		       &a, error));
	CHECK_OK(parse("{\"timestamp\":1," REST "\"session\":\"y\","
		       "\"agent\":null,\"stop\":\"odd\"," IDS,
		       &b, error));
	CHECK_INT(a.session, >, TRACE_NUMBER_MAX);
	CHECK_INT(a.session, !=, b.session);
	/* not in the middle of a character */
	CHECK_STR(a.agent, "0123456789012345678901234567890");
	CHECK_INT(a.stop, ==, TRACE_STOP_END);
	CHECK_INT(b.stop, ==, TRACE_STOP_OTHER);
	trace_request_fini(&a);
	trace_request_fini(&b);
}

TEST(bad_lines_say_why)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{ "", "not JSON" },
		{ "{", "not JSON" },
		{ "[1]", "not a JSON object" },
		{ "{\"timestamp\":1," REST "\"hash_ids\":[1", "not JSON" },
		{ "{\"timestamp\":1," REST IDS "x", "not JSON" },
		{ "{\"timestamp\":1,\"timestamp\":2," REST IDS, "duplicate" },
		{ "{" REST IDS, "no \"timestamp\"" },
		{ "{\"timestamp\":1,\"output_length\":1," IDS,
		  "no \"input_length\"" },
		{ "{\"timestamp\":1,\"input_length\":1," IDS,
		  "no \"output_length\"" },
		{ "{\"timestamp\":1," REST "\"x\":1}", "no \"hash_ids\"" },
		{ "{\"timestamp\":-1," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":1.5," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":\"1\"," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":null," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":true," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":NaN," REST IDS, "not JSON" },
		{ "{\"timestamp\":1e999," REST IDS, "not JSON" },
		{ "{\"timestamp\":1e30," REST IDS, "\"timestamp\" is not" },
		{ "{\"timestamp\":99999999999999999999," REST IDS, "not JSON" },
		{ "{\"timestamp\":9007199254740993," REST IDS,
		  "\"timestamp\" is not" },
		{ "{\"timestamp\":1," REST "\"hash_ids\":7}", "not an array" },
		{ "{\"timestamp\":1," REST "\"hash_ids\":[1,-2]}", "[1]" },
		{ "{\"timestamp\":1," REST "\"hash_ids\":[0.5]}", "[0]" },
		{ "{\"timestamp\":1," REST "\"hash_ids\":[9007199254740993]}",
		  "2^53" },
		{ "{\"timestamp\":1," REST "\"session\":-1," IDS,
		  "\"session\"" },
		{ "{\"timestamp\":1," REST "\"agent\":7," IDS, "\"agent\"" },
		{ "{\"timestamp\":1," REST "\"stop\":[]," IDS, "\"stop\"" },
		{ "{\"timestamp\":1," REST "\"next\":{}," IDS, "\"next\"" },
		{ "{\"timestamp\":1," REST "\"next\":[7]," IDS,
		  "\"next\"[0]: not an object" },
		{ "{\"timestamp\":1," REST "\"next\":[{\"in_ms\":1}]," IDS,
		  "\"next\"[0]: no \"session\"" },
		{ "{\"timestamp\":1," REST "\"next\":[{\"session\":1}]," IDS,
		  "\"next\"[0]: no \"in_ms\"" },
		{ "{\"timestamp\":1," REST
		  "\"next\":[{\"session\":1,\"in_ms\":-1}]," IDS,
		  "\"in_ms\" is not" },
	};
	char error[TRACE_ERROR];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct trace_request r = { .timestamp_ms = 77 };

		error[0] = 0;
		fprintf(stderr, "%s\n", bad[i].line);
		CHECK_INT(parse(bad[i].line, &r, error), ==, -EINVAL);
		if (!strstr(error, bad[i].says))
			FAIL("\"%s\" does not say \"%s\"", error, bad[i].says);
		CHECK_INT(r.timestamp_ms, ==, 77);
		CHECK(!strchr(error, '\n'));
		trace_request_fini(&r);
	}
}

TEST(deep_and_long_lines_are_refused)
{
	struct trace_request r = { 0 };
	size_t len = TRACE_LINE_MAX + 1;
	char error[TRACE_ERROR];
	char *line = malloc(len);

	CHECK(line);
	memset(line, '[', len);
	CHECK_INT(trace_parse_line(line, len, &r, error), ==, -EINVAL);
	CHECK(strstr(error, "longer than 16 MiB"));
	CHECK_INT(trace_parse_line(line, len - 1, &r, error), ==, -EINVAL);
	CHECK(strstr(error, "not JSON"));
	memset(line, ',', len);
	CHECK_INT(trace_parse_line(line, len - 1, &r, error), ==, -EINVAL);
	CHECK(strstr(error, "values"));
	free(line);
}

TEST(ids_are_bounded)
{
	static const char head[] = "{\"timestamp\":1," REST "\"hash_ids\":[1";
	size_t n = TRACE_IDS_MAX, at = sizeof(head) - 1;
	char *line = malloc(at + 2 * n + 8);
	struct trace_request r = { 0 };
	char error[TRACE_ERROR];

	CHECK(line);
	memcpy(line, head, at);
	for (size_t i = 1; i < n; i++, at += 2)
		memcpy(line + at, ",1", 2);
	memcpy(line + at, "]}", 2);
	CHECK_OK(trace_parse_line(line, at + 2, &r, error));
	CHECK_INT(r.n_ids, ==, n);
	memcpy(line + at, ",1]}", 4);
	CHECK_INT(trace_parse_line(line, at + 4, &r, error), ==, -EINVAL);
	CHECK(strstr(error, "at most 1048576"));
	trace_request_fini(&r);
	free(line);
}

/* As many of everything as there may be. */
TEST(a_line_may_be_full)
{
	static const char head[] = "{\"timestamp\":1," REST "\"next\":[",
			  one[] = "{\"session\":1,\"model\":1,"
				  "\"agent\":\"a,b\",\"in_ms\":1},",
			  ids[] = "],\"hash_ids\":[1";
	size_t n = TRACE_IDS_MAX, at = sizeof(head) - 1;
	char *line = malloc(2 * n + sizeof(one) * (TRACE_NEXT_MAX + 4));
	struct trace_request r = { 0 };
	char error[TRACE_ERROR];

	CHECK(line);
	memcpy(line, head, at);
	for (unsigned i = 0; i < TRACE_NEXT_MAX; i++, at += sizeof(one) - 1)
		memcpy(line + at, one, sizeof(one) - 1);
	memcpy(line + at - 1, ids, sizeof(ids) - 1);
	at += sizeof(ids) - 2;
	for (size_t i = 1; i < n; i++, at += 2)
		memcpy(line + at, ",1", 2);
	memcpy(line + at, "]}", 2);
	CHECK_OK(trace_parse_line(line, at + 2, &r, error));
	CHECK_INT(r.n_ids, ==, n);
	CHECK_INT(r.n_next, ==, TRACE_NEXT_MAX);
	trace_request_fini(&r);
	free(line);
}
