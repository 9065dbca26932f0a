/* SPDX-License-Identifier: Apache-2.0 */
#include "config_yaml.h"
#include "base/text.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#define DEPTH_MAX 6 /* of any schema here; deeper text never gets there */
#define KEYS_MAX  32

/* An open mapping or sequence. */
struct level {
	const cyaml_schema_value_t *schema;
	const cyaml_schema_field_t *field; /* mapping: its value comes next */
	unsigned count;			   /* sequence: entries so far */
	size_t path_len;		   /* of the walk's path, up to here */
};

struct walk {
	const char *name;
	char *error;
	size_t cap;
	struct yaml_marks *marks;
	const cyaml_schema_value_t *top;
	struct level level[DEPTH_MAX];
	unsigned depth, documents;
	bool content;
	char path[YAML_PATH]; /* of the current key or entry */
};

PRINTF_LIKE(3, 4)
static int wrong(struct walk *w, size_t line, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(w->error, w->cap, "%.100s:%zu: ", w->name, line + 1);

	va_start(ap, fmt);
	if (n > 0 && (size_t)n < w->cap)
		vsnprintf(w->error + n, w->cap - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

unsigned yaml_line(const struct yaml_marks *marks, const char *path)
{
	for (unsigned i = 0; i < marks->n; i++) {
		if (strcmp(marks->mark[i].path, path) == 0)
			return marks->mark[i].line;
	}
	return 1;
}

static bool marked(const struct yaml_marks *marks, const char *path)
{
	for (unsigned i = 0; i < marks->n; i++) {
		if (strcmp(marks->mark[i].path, path) == 0)
			return true;
	}
	return false;
}

static int mark(struct walk *w, size_t line)
{
	struct yaml_mark *m;

	if (w->marks->n == YAML_MARKS_MAX)
		return wrong(w, line, "too many keys");
	m = &w->marks->mark[w->marks->n++];
	memcpy(m->path, w->path, sizeof(m->path));
	m->line = (unsigned)line + 1;
	return 0;
}

static struct level *current(struct walk *w)
{
	return w->depth ? &w->level[w->depth - 1] : NULL;
}

/* Scalars go into error lines: what does not print is shown as '?'. */
static void show(char *dst, size_t cap, const yaml_event_t *e)
{
	const unsigned char *text = e->data.scalar.value;
	size_t n = MIN(e->data.scalar.length, cap - 1);

	for (size_t i = 0; i < n; i++)
		dst[i] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i]
							   : '?';
	dst[n] = '\0';
}

/* The nearest key of the mapping, or NULL. */
static const char *near_key(const cyaml_schema_value_t *mapping,
			    const char *word)
{
	const char *names[KEYS_MAX];
	size_t n = 0;

	for (const cyaml_schema_field_t *f = mapping->mapping.fields;
	     f->key && n < KEYS_MAX; f++)
		names[n++] = f->key;
	return text_nearest(word, names, n);
}

static int key_unknown(struct walk *w, const struct level *l, size_t line,
		       const char *word)
{
	const char *near = near_key(l->schema, word);

	if (near)
		return wrong(w, line, "unknown key '%s'; did you mean '%s'?",
			     word, near);
	return wrong(w, line, "unknown key '%s'", word);
}

/* A scalar where a mapping wants its next key. */
static int on_key(struct walk *w, struct level *l, const yaml_event_t *e)
{
	const cyaml_schema_field_t *f = l->schema->mapping.fields;
	size_t line = e->start_mark.line;
	char word[48];

	show(word, sizeof(word), e);
	while (f->key && (strlen(f->key) != e->data.scalar.length ||
			  memcmp(f->key, e->data.scalar.value,
				 e->data.scalar.length) != 0))
		f++;
	if (!f->key)
		return key_unknown(w, l, line, word);
	snprintf(w->path + l->path_len, sizeof(w->path) - l->path_len, "%s%s",
		 l->path_len ? "." : "", f->key);
	if (marked(w->marks, w->path))
		return wrong(w, line, "'%s' is there twice (first on line %u)",
			     w->path, yaml_line(w->marks, w->path));
	l->field = f;
	return mark(w, line);
}

/* The schema of the value that comes next, and its path. */
static int next_schema(struct walk *w, const yaml_event_t *e,
		       const cyaml_schema_value_t **ret)
{
	struct level *l = current(w);
	size_t line = e->start_mark.line;

	if (!l) {
		*ret = w->top;
		return 0;
	}
	if (l->schema->type == CYAML_MAPPING) {
		if (!l->field)
			return wrong(w, line, "a key must be a word");
		*ret = &l->field->value;
		l->field = NULL;
		return 0;
	}
	if (l->count == l->schema->sequence.max) {
		w->path[l->path_len] = '\0';
		return wrong(w, line, "'%s' has more than %u entries", w->path,
			     l->schema->sequence.max);
	}
	snprintf(w->path + l->path_len, sizeof(w->path) - l->path_len, "[%u]",
		 l->count++);
	*ret = l->schema->sequence.entry;
	return mark(w, line);
}

static const char *kind_name(cyaml_type_e type)
{
	switch (type) {
	case CYAML_MAPPING:
		return "a mapping (KEY: VALUE on the lines below)";
	case CYAML_SEQUENCE:
		return "a list ([A, B], or lines that begin with -)";
	default:
		return "one value";
	}
}

static int check_kind(struct walk *w, const yaml_event_t *e,
		      const cyaml_schema_value_t *schema, cyaml_type_e type)
{
	if (schema->type == type)
		return 0;
	if (!w->depth)
		return wrong(w, e->start_mark.line, "expected %s",
			     kind_name(schema->type));
	return wrong(w, e->start_mark.line, "'%s': expected %s", w->path,
		     kind_name(schema->type));
}

static int on_scalar(struct walk *w, const yaml_event_t *e)
{
	const cyaml_schema_value_t *schema = NULL;
	struct level *l = current(w);
	size_t line = e->start_mark.line, len = e->data.scalar.length;
	int r;

	if (l && l->schema->type == CYAML_MAPPING && !l->field)
		return on_key(w, l, e);
	/* "---" and nothing else */
	if (!l && !len && e->data.scalar.plain_implicit)
		return 0;
	w->content = true;
	r = next_schema(w, e, &schema);
	if (!r)
		r = check_kind(w, e, schema, CYAML_STRING);
	if (r)
		return r;
	if (memchr(e->data.scalar.value, 0, len))
		return wrong(w, line, "'%s': a zero byte", w->path);
	if (len > schema->string.max)
		return wrong(w, line, "'%s': longer than %u characters",
			     w->path, schema->string.max);
	return 0;
}

static int on_open(struct walk *w, const yaml_event_t *e, cyaml_type_e type)
{
	const cyaml_schema_value_t *schema = NULL;
	int r = next_schema(w, e, &schema);

	w->content = true;
	if (!r)
		r = check_kind(w, e, schema, type);
	if (r)
		return r;
	if (w->depth == DEPTH_MAX)
		return wrong(w, e->start_mark.line, "too deep");
	w->level[w->depth++] = (struct level){
		.schema = schema,
		.path_len = strlen(w->path),
	};
	return 0;
}

static void on_close(struct walk *w)
{
	w->depth--;
	w->path[w->level[w->depth].path_len] = '\0';
}

static int on_event(struct walk *w, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (w->documents++)
			return wrong(w, e->start_mark.line,
				     "more than one document");
		return 0;
	case YAML_ALIAS_EVENT:
		return wrong(w, e->start_mark.line,
			     "aliases (*) are not allowed here");
	case YAML_SCALAR_EVENT:
		return on_scalar(w, e);
	case YAML_MAPPING_START_EVENT:
		return on_open(w, e, CYAML_MAPPING);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(w, e, CYAML_SEQUENCE);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		on_close(w);
		return 0;
	default:
		return 0;
	}
}

static int bad_syntax(struct walk *w, const yaml_parser_t *p)
{
	size_t line = p->problem_mark.line ? p->problem_mark.line
					   : p->mark.line;

	if (p->error == YAML_MEMORY_ERROR) {
		snprintf(w->error, w->cap, "%.100s: no memory", w->name);
		return -ENOMEM;
	}
	return wrong(w, line, "not YAML: %s",
		     p->problem ? p->problem : "syntax");
}

static int walk_events(struct walk *w, yaml_parser_t *parser)
{
	bool more = true;
	int r = 0;

	while (more && !r) {
		yaml_event_t event;

		if (!yaml_parser_parse(parser, &event))
			return bad_syntax(w, parser);
		more = event.type != YAML_STREAM_END_EVENT;
		r = on_event(w, &event);
		yaml_event_delete(&event);
	}
	return r;
}

int yaml_check(const char *text, size_t len, const char *name,
	       const cyaml_schema_value_t *schema, struct yaml_marks *ret_marks,
	       char *error, size_t cap)
{
	struct walk w = {
		.name = name,
		.error = error,
		.cap = cap,
		.marks = ret_marks,
		.top = schema,
	};
	yaml_parser_t parser;
	int r;

	ret_marks->n = 0;
	if (!yaml_parser_initialize(&parser)) {
		snprintf(error, cap, "%.100s: no memory", name);
		return -ENOMEM;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	r = walk_events(&w, &parser);
	yaml_parser_delete(&parser);
	if (r)
		return r;
	return w.content ? 0 : 1;
}
