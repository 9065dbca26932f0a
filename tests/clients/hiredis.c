/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hiredis against the RESP door: hiredis HOST PORT. Ends with 0, or with 1 and
 * what went wrong on stdout.
 */
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(cond_)                                                      \
	do {                                                               \
		if (!(cond_)) {                                            \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #cond_); \
			exit(1);                                           \
		}                                                          \
	} while (0)

#define PIPELINED 1000

static redisReply *ask(redisContext *c, const char *format, ...)
{
	redisReply *reply;
	va_list args;

	va_start(args, format);
	reply = redisvCommand(c, format, args);
	va_end(args);
	if (!reply) {
		printf("%s: %s\n", format, c->errstr);
		exit(1);
	}
	return reply;
}

static void is_status(redisReply *r, const char *text)
{
	EXPECT(r->type == REDIS_REPLY_STATUS);
	EXPECT(strcmp(r->str, text) == 0);
	freeReplyObject(r);
}

static void is_integer(redisReply *r, long long value)
{
	EXPECT(r->type == REDIS_REPLY_INTEGER);
	EXPECT(r->integer == value);
	freeReplyObject(r);
}

static void is_nil(redisReply *r)
{
	EXPECT(r->type == REDIS_REPLY_NIL);
	freeReplyObject(r);
}

static void is_bulk(redisReply *r, const void *data, size_t bytes)
{
	EXPECT(r->type == REDIS_REPLY_STRING);
	EXPECT((size_t)r->len == bytes);
	EXPECT(memcmp(r->str, data, bytes) == 0);
	freeReplyObject(r);
}

static void is_error(redisReply *r, const char *begin)
{
	EXPECT(r->type == REDIS_REPLY_ERROR);
	EXPECT(strncmp(r->str, begin, strlen(begin)) == 0);
	freeReplyObject(r);
}

static void commands(redisContext *c)
{
	redisReply *r;

	is_status(ask(c, "PING"), "PONG");
	is_status(ask(c, "SET a %s", "one"), "OK");
	is_bulk(ask(c, "GET a"), "one", 3);
	is_nil(ask(c, "GET none"));
	is_nil(ask(c, "SET a two NX"));
	is_integer(ask(c, "EXISTS a a none"), 2);
	is_integer(ask(c, "STRLEN a"), 3);
	is_integer(ask(c, "TTL a"), -1);
	is_integer(ask(c, "DEL a none"), 1);
	is_error(ask(c, "NOSUCHCOMMAND"), "ERR unknown command");
	is_error(ask(c, "GET"), "ERR wrong number of arguments");
	is_status(ask(c, "MSET b 1 c 2"), "OK");
	r = ask(c, "MGET b none c");
	EXPECT(r->type == REDIS_REPLY_ARRAY && r->elements == 3);
	EXPECT(r->element[1]->type == REDIS_REPLY_NIL);
	EXPECT(strcmp(r->element[2]->str, "2") == 0);
	freeReplyObject(r);
	is_integer(ask(c, "DBSIZE"), 2);
	is_status(ask(c, "FLUSHDB"), "OK");
	is_integer(ask(c, "DBSIZE"), 0);
}

static void binary(redisContext *c)
{
	static const size_t sizes[] = { 0,	 1,	   28,	    4095,
					4096,	 4097,	   65536,   1 << 20,
					4 << 20, 16 << 20, 64 << 20 };
	size_t most = sizes[sizeof(sizes) / sizeof(sizes[0]) - 1];
	char *data = malloc(most);

	EXPECT(data != NULL);
	for (size_t i = 0; i < most; i++)
		data[i] = (char)(i * 7 + (i >> 8));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		is_status(ask(c, "SET %b %b", "a\0b", (size_t)3, data,
			      sizes[i]),
			  "OK");
		is_bulk(ask(c, "GET %b", "a\0b", (size_t)3), data, sizes[i]);
	}
	is_integer(ask(c, "DEL %b", "a\0b", (size_t)3), 1);
	free(data);
}

static void pipeline(redisContext *c)
{
	char text[16];
	void *reply;

	for (int i = 0; i < PIPELINED; i++) {
		redisAppendCommand(c, "SET key:%d %d", i, i);
		redisAppendCommand(c, "GET key:%d", i);
		redisAppendCommand(c, "EXISTS key:%d", i + 1);
	}
	for (int i = 0; i < PIPELINED; i++) {
		snprintf(text, sizeof(text), "%d", i);
		EXPECT(redisGetReply(c, &reply) == REDIS_OK);
		is_status(reply, "OK");
		EXPECT(redisGetReply(c, &reply) == REDIS_OK);
		is_bulk(reply, text, strlen(text));
		EXPECT(redisGetReply(c, &reply) == REDIS_OK);
		is_integer(reply, 0);
	}
}

int main(int argc, char **argv)
{
	struct timeval wait = { .tv_sec = 30 };
	redisContext *c;

	EXPECT(argc == 3);
	c = redisConnectWithTimeout(argv[1], (int)strtol(argv[2], NULL, 10),
				    wait);
	EXPECT(c != NULL);
	if (c->err || redisSetTimeout(c, wait) != REDIS_OK) {
		printf("%s\n", c->errstr);
		return 1;
	}
	is_status(ask(c, "FLUSHDB"), "OK");
	commands(c);
	binary(c);
	pipeline(c);
	redisFree(c);
	return 0;
}
