/* SPDX-License-Identifier: Apache-2.0 */
/* onecopy-llama: a model in the terminal that shares its KV with others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/compiler.h"
#include "base/text.h"
#include "commands.h"
#include "llama/demo.h"
#include "llama/engine_path.h"
#include "llama/measure.h"
#include "llama/session.h"
#include "llama/talk.h"
#include "stop.h"

#define SYSTEM_MOST (16u << 20)

enum {
	OPT_SYSTEM = CLI_LONG,
	OPT_STATS,
	OPT_JSON,
	OPT_THREADS,
	OPT_SEED,
	OPT_TEMPERATURE,
	OPT_CONTEXT,
	OPT_NODE,
	OPT_NO_NODE,
	OPT_EXACT,
	OPT_RAW,
	OPT_BLOCK,
	OPT_ENGINE,
	OPT_VERSION,
};

static const struct cli_option llama_options[] = {
	{ 'm', "model", "FILE", NULL,
	  "GGUF model, or random:tiny|small|base|medium[:SEED]" },
	{ 'p', "prompt", "TEXT", NULL, "what to continue or to answer" },
	{ OPT_SYSTEM, "system", "FILE", NULL,
	  "text that comes first: the prefix to share" },
	{ 'i', "interactive", NULL, NULL, "a conversation, line by line" },
	{ 'n', "tokens", "N", "128", "tokens to generate at most" },
	{ OPT_STATS, "stats", NULL, NULL,
	  "say what was reused, computed, shared, and in which time" },
	{ OPT_JSON, "json", NULL, NULL, "the same as JSON, a line a prompt" },
	{ OPT_THREADS, "threads", "N", "the processors", "of the engine" },
	{ OPT_SEED, "seed", "N", "1", "of sampling" },
	{ OPT_TEMPERATURE, "temperature", "X", "0.8",
	  "of sampling; 0: the likeliest token" },
	{ OPT_CONTEXT, "context", "N", "4096, or what the model has",
	  "tokens of the context" },
	{ OPT_NODE, "node", "PATH", "$ONECOPY_SOCKET", "the node's socket" },
	{ OPT_NO_NODE, "no-node", NULL, NULL, "share nothing" },
	{ OPT_EXACT, "exact", NULL, NULL,
	  "reuse only what leaves logits bit for bit equal" },
	{ OPT_RAW, "raw", NULL, NULL, "leave out the model's template" },
	{ OPT_BLOCK, "block-tokens", "N", "16", "tokens of a block, 16 to 64" },
	{ OPT_ENGINE, "engine", "PATH", "$ONECOPY_LLAMA",
	  "libllama, or its folder" },
	{ OPT_VERSION, "version", NULL, NULL, "print the version" },
	CLI_END
};

struct words {
	struct session_options session;
	const char *prompt, *system;
	bool interactive, stats, json, raw;
	uint64_t tokens;
};

static const struct command llama_command = {
	.name = "llama",
	.summary = "a model in the terminal that shares its KV with others",
	.usage = "-m FILE (-p TEXT | -i) [OPTIONS]\n"
		 "       onecopy-llama demo [OPTIONS]",
	.options = llama_options,
	.alone = true,
};

/* ---- words of the command line */

static int take_number(const struct cli *c, uint64_t least, uint64_t most,
		       uint32_t *ret)
{
	uint64_t value;
	int r = cli_number(c, least, most, &value);

	if (r == 0)
		*ret = (uint32_t)value;
	return r;
}

static int take_temperature(const struct cli *c, float *ret)
{
	char *end;
	float value = strtof(c->value, &end);

	if (end == c->value || *end || !(value >= 0 && value <= 100))
		return cli_fail(c->command, PROG_USAGE,
				"--temperature '%s': expected 0 to 100",
				c->value);
	*ret = value;
	return 0;
}

static int take_session(struct session_options *o, const struct cli *c, int id)
{
	switch (id) {
	case OPT_THREADS:
		return take_number(c, 1, 1024, &o->threads);
	case OPT_SEED:
		return take_number(c, 0, UINT32_MAX - 1, &o->seed);
	case OPT_TEMPERATURE:
		return take_temperature(c, &o->temperature);
	case OPT_CONTEXT:
		return take_number(c, 64, 1u << 24, &o->context);
	case OPT_BLOCK:
		return take_number(c, 16, 64, &o->block_tokens);
	case OPT_NODE:
		o->node = c->value;
		return 0;
	case OPT_NO_NODE:
		o->no_node = true;
		return 0;
	case OPT_EXACT:
		o->exact = true;
		return 0;
	default:
		o->engine = c->value;
		return 0;
	}
}

static int take_word(struct words *w, const struct cli *c, int id)
{
	switch (id) {
	case 'm':
		w->session.model = c->value;
		return 0;
	case 'p':
		w->prompt = c->value;
		return 0;
	case OPT_SYSTEM:
		w->system = c->value;
		return 0;
	case 'i':
		w->interactive = true;
		return 0;
	case 'n':
		return cli_number(c, 1, 1u << 24, &w->tokens);
	case OPT_STATS:
		w->stats = true;
		return 0;
	case OPT_JSON:
		w->json = true;
		return 0;
	case OPT_RAW:
		w->raw = true;
		return 0;
	default:
		return take_session(&w->session, c, id);
	}
}

static int take_words(struct words *w, int argc, char **argv, int *ret_status)
{
	struct cli c;
	int id;

	cli_begin(&c, &llama_command, argc, argv);
	while ((id = cli_next(&c)) > 0) {
		if (id == OPT_VERSION) {
			printf("onecopy-llama %s\n", ONECOPY_VERSION);
			*ret_status = PROG_OK;
			return 1;
		}
		*ret_status = take_word(w, &c, id);
		if (*ret_status)
			return 1;
	}
	*ret_status = id < 0 ? c.status : cli_words(&c, 0, 0);
	if (id < 0 || *ret_status)
		return 1;
	if (!w->session.model || (!w->prompt && !w->interactive)) {
		*ret_status = cli_fail(&llama_command, PROG_USAGE,
				       "a model (-m) and a prompt (-p), or a "
				       "conversation (-i), are needed");
		return 1;
	}
	return 0;
}

/* ---- files */

static int read_text(FILE *f, char *text)
{
	size_t n = fread(text, 1, SYSTEM_MOST + 1, f);

	if (ferror(f))
		return -errno;
	if (n > SYSTEM_MOST)
		return -EFBIG;
	text[n] = '\0';
	return strlen(text) == n ? 0 : -EILSEQ; /* a zero byte ends a text */
}

static int read_file(const char *path, char **ret_text)
{
	FILE *f = fopen(path, "re");
	char *text;
	int r;

	if (!f)
		return -errno;
	text = malloc(SYSTEM_MOST + 2);
	r = text ? read_text(f, text) : -ENOMEM;
	fclose(f);
	if (r)
		free(text);
	else
		*ret_text = text;
	return r;
}

/* ---- figures */

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static double per(uint64_t moved, uint64_t bytes)
{
	return bytes ? (double)moved / (double)bytes : 0;
}

static void tell_share(struct session *s)
{
	struct oc_llama_stat st;
	char a[32], b[32], c[32];

	if (!s->share) {
		fprintf(stderr, "shared nothing: %s\n", s->no_node);
		return;
	}
	oc_llama_stat(s->share, &st);
	fprintf(stderr,
		"since the start: taken over %s in %llu blocks, %.2f moves a byte; exported "
		"%s in %llu blocks, %.2f moves a byte, longest pause %.1f ms\n",
		text_size(st.imported_bytes, a),
		(unsigned long long)st.imported_blocks,
		per(st.imported_moved, st.imported_bytes),
		text_size(st.exported_bytes, b),
		(unsigned long long)st.exported_blocks,
		per(st.exported_moved, st.exported_bytes),
		ms(st.export_ns_most));
	fprintf(stderr,
		"pool: %s, one copy for all; KV of this engine alone, not "
		"shared: %s\n",
		text_size(st.pool_bytes, a), text_size(st.private_bytes, c));
	if (st.below_blocks)
		fprintf(stderr,
			"the node's drive had %llu blocks: %llu brought up in "
			"%.1f ms, the others were sooner computed\n",
			(unsigned long long)st.below_blocks,
			(unsigned long long)st.fetched_blocks, ms(st.fetch_ns));
	if (oc_llama_error(s->share)[0])
		fprintf(stderr, "computed instead: %s\n",
			oc_llama_error(s->share));
}

static void tell(struct session *s)
{
	const struct session_times *t = &s->times;
	double seconds = (double)t->generate_ns / 1e9;

	fprintf(stderr,
		"prompt: %zu tokens, %zu reused and %zu computed, %zu were in "
		"this engine; first token after %.1f ms (taking over %.1f, "
		"computing %.1f)\n",
		t->prompt, t->reused, t->prompt - t->held - t->reused, t->held,
		ms(t->first_ns), ms(t->import_ns), ms(t->compute_ns));
	fprintf(stderr, "generated: %zu tokens, %.1f a second\n", t->generated,
		seconds > 0 ? (double)t->generated / seconds : 0);
	tell_share(s);
}

static void tell_json(struct session *s)
{
	const struct session_times *t = &s->times;
	struct oc_llama_stat st = { 0 };

	if (s->share)
		oc_llama_stat(s->share, &st);
	fprintf(stderr,
		"{\"shared\": %s, \"prompt_tokens\": %zu, "
		"\"held_tokens\": %zu, \"reused_tokens\": %zu, "
		"\"computed_tokens\": %zu, "
		"\"generated_tokens\": %zu, \"first_token_ms\": %.3f, "
		"\"import_ms\": %.3f, \"compute_ms\": %.3f, "
		"\"generate_ms\": %.3f, ",
		s->share ? "true" : "false", t->prompt, t->held, t->reused,
		t->prompt - t->held - t->reused, t->generated, ms(t->first_ns),
		ms(t->import_ns), ms(t->compute_ns), ms(t->generate_ns));
	fprintf(stderr,
		"\"imported_bytes\": %llu, \"imported_moves\": %.3f, "
		"\"exported_bytes\": %llu, \"exported_moves\": %.3f, "
		"\"export_ms\": %.3f, \"export_longest_ms\": %.3f, "
		"\"import_failures\": %llu, \"export_failures\": %llu, "
		"\"below_blocks\": %llu, \"fetched_blocks\": %llu, "
		"\"fetch_ms\": %.3f, "
		"\"pool_bytes\": %llu, \"private_bytes\": %llu}\n",
		(unsigned long long)st.imported_bytes,
		per(st.imported_moved, st.imported_bytes),
		(unsigned long long)st.exported_bytes,
		per(st.exported_moved, st.exported_bytes), ms(st.export_ns),
		ms(st.export_ns_most), (unsigned long long)st.import_failures,
		(unsigned long long)st.export_failures,
		(unsigned long long)st.below_blocks,
		(unsigned long long)st.fetched_blocks, ms(st.fetch_ns),
		(unsigned long long)st.pool_bytes,
		(unsigned long long)st.private_bytes);
}

/* ---- talking */

/* What the model says goes out as it comes, and is kept for the next turn. */
struct answer {
	char *text;
	size_t n, room;
};

static bool say(void *ctx, const char *bytes, size_t n)
{
	struct answer *a = ctx;

	if (a->n + n + 1 > a->room) {
		size_t room = (a->n + n + 1) * 2;
		char *p = realloc(a->text, room);

		if (!p)
			return false;
		a->text = p;
		a->room = room;
	}
	memcpy(a->text + a->n, bytes, n);
	a->n += n;
	a->text[a->n] = '\0';
	return fwrite(bytes, 1, n, stdout) == n && fflush(stdout) == 0 &&
	       !stop_wanted();
}

static int give_prompt(struct session *s, const struct talk *t)
{
	char *text = talk_text(t, s);
	int32_t *tokens = NULL;
	size_t n;
	int r;

	if (!text) {
		text_copy(s->error, sizeof(s->error),
			  "the engine does not know the model's template: "
			  "--raw leaves it out");
		return -EINVAL;
	}
	r = session_tokens(s, text, t->template != NULL, &tokens, &n);
	if (r == 0)
		r = session_prompt(s, tokens, n);
	free(tokens);
	free(text);
	return r;
}

static int turn(const struct words *w, struct session *s, struct talk *t,
		const char *text)
{
	struct answer a = { 0 };
	int r = talk_add(t, "user", text);

	if (r == 0)
		r = give_prompt(s, t);
	if (r == 0)
		r = session_generate(s, w->tokens, say, &a);
	putchar('\n');
	fflush(stdout);
	if (r == 0 || a.n)
		(void)talk_add(t, "assistant", a.text ? a.text : "");
	free(a.text);
	if (r)
		return cli_fail(&llama_command, PROG_FAILED, "%s",
				s->error[0] ? s->error : oc_strerror(r));
	if (w->stats)
		tell(s);
	if (w->json)
		tell_json(s);
	return 0;
}

static int converse(const struct words *w, struct session *s, struct talk *t)
{
	bool terminal = isatty(STDIN_FILENO);
	char *line = NULL;
	size_t cap = 0;
	int r = 0;

	while (r == 0 && !stop_wanted()) {
		ssize_t n;

		if (terminal) {
			fputs("> ", stdout);
			fflush(stdout);
		}
		n = getline(&line, &cap, stdin);
		if (n < 0)
			break;
		if (t->template && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (line[strspn(line, " \n")])
			r = turn(w, s, t, line);
	}
	free(line);
	return r;
}

static int talk_all(const struct words *w, struct session *s)
{
	char *system = NULL;
	struct talk t;
	int r = 0;

	talk_init(&t, s, w->raw);
	if (w->system) {
		r = read_file(w->system, &system);
		if (r)
			r = cli_fail(&llama_command, PROG_BAD_INPUT, "%s: %s",
				     w->system,
				     r == -EILSEQ ? "no text: a zero byte"
						  : oc_strerror(r));
		else if (talk_add(&t, "system", system))
			r = PROG_SYSTEM;
	}
	if (r == 0 && w->prompt)
		r = turn(w, s, &t, w->prompt);
	if (r == 0 && w->interactive)
		r = converse(w, s, &t);
	free(system);
	talk_fini(&t);
	return r;
}

static int run(const struct words *w)
{
	static struct session s; /* large */
	int r = session_init(&s, &w->session);

	if (r && s.no_node[0])
		r = cli_fail(&llama_command, exit_of(r), "%s", s.error);
	else if (r)
		r = cli_fail(&llama_command,
			     r == -ENOMEM ? PROG_SYSTEM : PROG_BAD_INPUT, "%s",
			     s.error[0] ? s.error : oc_strerror(r));
	else if (!s.share && !w->session.no_node)
		fprintf(stderr, "onecopy-llama: nothing is shared: %s\n",
			s.no_node);
	if (r == 0)
		r = talk_all(w, &s);
	session_fini(&s);
	return r;
}

int main(int argc, char **argv)
{
	struct words w = {
		.session = { .seed = 1, .temperature = 0.8f },
		.tokens = 128,
	};
	int status;

	if (argc > 1 && strcmp(argv[1], "demo") == 0)
		return cli_finish(demo_command(argc - 1, argv + 1));
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		return cli_finish(measure_command(argc - 1, argv + 1));
	if (take_words(&w, argc, argv, &status))
		return cli_finish(status);
	if (!w.session.engine)
		w.session.engine = engine_fetched();
	if (!w.session.threads)
		w.session.threads =
			(uint32_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
	stop_catch();
	return cli_finish(run(&w));
}
