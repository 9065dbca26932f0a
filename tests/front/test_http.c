/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP door over sockets. */
#include <fcntl.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/hash.h"
#include "base/text.h"
#include "tests/front/exposition.h"
#include "tests/front/web.h"

#define PLAIN ((struct http_options){ 0 })

static bool has(const char *text, const char *part)
{
	return text && strcasestr(text, part);
}

static json_t *json_of(const struct page *p)
{
	json_t *o = json_loads(p->body, JSON_REJECT_DUPLICATES, NULL);

	CHECK(o);
	CHECK(has(p->head, "\r\nContent-Type: application/json\r\n"));
	return o;
}

/* ---- what there is ----------------------------------------------------------- */

TEST(metrics)
{
	struct web w;
	struct page p;
	struct expo e;

	web_open(&w, PLAIN);
	p = web_get(&w, "GET", "/metrics", "");
	CHECK_INT(p.status, ==, 200);
	CHECK(has(p.head, "\r\nContent-Type: text/plain; version=0.0.4"));
	CHECK(has(p.head, "\r\nCache-Control: no-store\r\n"));
	CHECK(has(p.head, "\r\nX-Content-Type-Options: nosniff\r\n"));
	e = expo_read(p.body);
	CHECK(expo_value(&e, "onecopy_pool_sealed_parts",
			 "tenant=\"test\",tier=\"dram\"") == 5);
	/* the door tells of itself, too */
	CHECK(expo_value(&e, "onecopy_door_open_connections",
			 "door=\"http\",tenant=\"\"") == 1);
	expo_free(&e);
	page_free(&p);
	web_close(&w);
}

TEST(health)
{
	struct web w;
	struct page p;
	json_t *o;

	web_open(&w, PLAIN);
	p = web_get(&w, "GET", "/health", "");
	CHECK_INT(p.status, ==, 200);
	o = json_of(&p);
	CHECK(json_is_true(json_object_get(o, "live")));
	CHECK(json_is_true(json_object_get(o, "ready")));
	CHECK_INT(json_array_size(json_object_get(o, "degraded")), ==, 0);
	CHECK(json_is_array(json_object_get(o, "notes")));
	json_decref(o);
	page_free(&p);
	/* degraded: it serves all the same */
	pool_count(w.told->w->p, POOL_C_bad, 1);
	p = web_get(&w, "GET", "/health", "");
	CHECK_INT(p.status, ==, 200);
	CHECK(has(p.body, "wrong bytes"));
	page_free(&p);
	shared_store64(&w.told->w->p->m->header.state, POOL_STOPPED);
	CHECK_INT(web_status(&w, "/health", ""), ==, 503);
	CHECK_INT(web_status(&w, "/health/ready", ""), ==, 503);
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	web_close(&w);
}

static void check_stat(struct web *w, const char *path, const char *tenant,
		       size_t clients)
{
	struct page p = web_get(w, "GET", path, "");
	json_t *o, *node;

	CHECK_INT(p.status, ==, 200);
	o = json_of(&p);
	node = json_object_get(o, "node");
	CHECK_STR(json_string_value(json_object_get(node, "tenant")), tenant);
	CHECK_STR(json_string_value(json_object_get(node, "version")), "1.2.3");
	CHECK_INT(json_array_size(json_object_get(o, "clients")), ==, clients);
	CHECK_INT(json_array_size(json_object_get(o, "tenants")), ==, 2);
	CHECK_INT(json_array_size(json_object_get(o, "doors")), ==, 2);
	json_decref(o);
	page_free(&p);
}

TEST(stat)
{
	struct web w;

	web_open(&w, PLAIN);
	check_stat(&w, "/v1/stat", "test", 1);
	check_stat(&w, "/v1/stat?tenant=test", "test", 1);
	check_stat(&w, "/v1/stat?tenant=od%22d%5C", "od\"d\\", 0);
	CHECK_INT(web_status(&w, "/v1/stat?tenant=nobody", ""), ==, 404);
	web_close(&w);
}

static json_t *where(struct web *w, uint64_t n, const char *more)
{
	char hex[65], path[128];
	struct page p;
	uint64_t key[4];
	json_t *o;

	key_of(n, key);
	text_hex((const uint8_t *)key, 32, hex);
	snprintf(path, sizeof(path), "/v1/where?key=%s%s", hex, more);
	p = web_get(w, "GET", path, "");
	CHECK_INT(p.status, ==, 200);
	o = json_of(&p);
	page_free(&p);
	return o;
}

TEST(where_a_block_is)
{
	struct web w;
	json_t *o, *part;

	web_open(&w, PLAIN);
	CHECK(sim_pin(&w.told->w->sim[0], 3, 2, PART));
	o = where(&w, 2, "");
	CHECK_INT(json_array_size(o), ==, 1);
	part = json_array_get(o, 0);
	CHECK_STR(json_string_value(json_object_get(part, "tier")), "dram");
	CHECK_INT(json_integer_value(json_object_get(part, "pins")), ==, 1);
	CHECK_INT(json_integer_value(json_object_get(part, "bytes")), ==, 4096);
	json_decref(o);
	o = where(&w, 3, "&tenant=test");
	CHECK_INT(json_array_size(o), ==, 1);
	part = json_array_get(o, 0);
	CHECK_INT(json_integer_value(json_object_get(part, "pins")), ==, 0);
	json_decref(o);
	o = where(&w, 99, "");
	CHECK_INT(json_array_size(o), ==, 0);
	json_decref(o);
	o = where(&w, 3, "&tenant=od%22d%5C");
	CHECK_INT(json_array_size(o), ==, 0);
	json_decref(o);
	CHECK_INT(web_status(&w, "/v1/where", ""), ==, 400);
	CHECK_INT(web_status(&w, "/v1/where?key=12", ""), ==, 400);
	web_close(&w);
}

static json_t *why(struct web *w, uint64_t n, const char *more)
{
	uint64_t key[4];
	char hex[65], path[200];
	struct page p;
	json_t *o;

	key_of(n, key);
	text_hex((const uint8_t *)key, 32, hex);
	snprintf(path, sizeof(path), "/v1/why?key=%s,%s%s", hex, hex, more);
	p = web_get(w, "GET", path, "");
	CHECK_INT(p.status, ==, 200);
	o = json_of(&p);
	page_free(&p);
	CHECK_INT(json_array_size(json_object_get(o, "keys")), ==, 2);
	return o;
}

static void expect_state(json_t *o, const char *state)
{
	json_t *k = json_array_get(json_object_get(o, "keys"), 1);

	CHECK_STR(json_string_value(json_object_get(k, "state")), state);
	json_decref(o);
}

TEST(why_a_block_is_not_there)
{
	struct web w;

	web_open(&w, PLAIN);
	expect_state(why(&w, 2, ""), "resident");
	expect_state(why(&w, 2, "&ns=1&tenant=test"), "resident");
	expect_state(why(&w, 99, ""), "never_seen");
	expect_state(why(&w, 2, "&tenant=od%22d%5C"), "never_seen");
	CHECK_INT(web_status(&w, "/v1/why", ""), ==, 400);
	CHECK_INT(web_status(&w, "/v1/why?key=12", ""), ==, 400);
	CHECK_INT(web_status(&w, "/v1/why?key=12&ns=x", ""), ==, 400);
	CHECK_INT(web_status(&w, "/v1/why?key=12&tenant=none", ""), ==, 404);
	web_close(&w);
}

TEST(what_there_is_not)
{
	struct web w;
	struct page p;

	web_open(&w, PLAIN);
	p = web_get(&w, "GET", "/", "");
	CHECK_INT(p.status, ==, 200);
	CHECK(has(p.body, "\"/v1/where\""));
	page_free(&p);
	p = web_get(&w, "GET", "/no/such", "");
	CHECK_INT(p.status, ==, 404);
	json_decref(json_of(&p));
	page_free(&p);
	CHECK_INT(web_status(&w, "/metrics/", ""), ==, 404);
	CHECK_INT(web_count(&w, DOOR_C_errors), ==, 2);
	CHECK_INT(web_count(&w, DOOR_C_requests), ==, 3);
	web_close(&w);
}

TEST(nothing_is_changed)
{
	static const char *const methods[] = { "POST", "PUT", "DELETE",
					       "OPTIONS", "PATCH" };
	struct web w;
	struct page p;

	web_open(&w, PLAIN);
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		p = web_get(&w, methods[i], "/metrics", "");
		CHECK_INT(p.status, ==, 405);
		CHECK(has(p.head, "\r\nAllow: GET, HEAD\r\n"));
		page_free(&p);
	}
	CHECK_INT(web_status(&w, "/metrics", "Content-Length: 5\r\n"), ==, 413);
	CHECK_INT(web_status(&w, "/metrics", "Transfer-Encoding: chunked\r\n"),
		  ==, 413);
	web_close(&w);
}

TEST(head_is_get_without_the_body)
{
	struct browser b;
	struct page p;
	struct web w;
	static const char both[] = "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
				   "GET /health/live HTTP/1.1\r\nHost: x\r\n"
				   "\r\n";

	web_open(&w, PLAIN);
	b = browser_open(&w);
	browser_send(&b, both, strlen(both));
	p = browser_page(&b, true);
	CHECK_INT(p.status, ==, 200);
	CHECK(has(p.head, "\r\nContent-Length: "));
	CHECK(!has(p.head, "\r\nContent-Length: 0\r\n"));
	page_free(&p);
	p = browser_page(&b, false); /* at once: no body came in between */
	CHECK_INT(p.status, ==, 200);
	CHECK_STR(p.body, "{\"live\":true}");
	CHECK_INT(web_count(&w, DOOR_C_sent_bytes), ==, strlen(p.body));
	page_free(&p);
	browser_close(&b);
	web_close(&w);
}

/* ---- who may ask ------------------------------------------------------------- */

TEST(a_token)
{
	static const char good[] = "Authorization: Bearer " WEB_TOKEN "\r\n";
	static const char *const paths[] = { "/metrics", "/v1/stat", "/health",
					     "/v1/where?key=1", "/no/such" };
	struct http_options o = PLAIN;
	struct web w;
	struct page p;
	uint8_t digest[32];

	CHECK(EVP_Digest(WEB_TOKEN, strlen(WEB_TOKEN), digest, NULL,
			 EVP_sha256(), NULL));
	o.token_sha256 = digest;
	web_open(&w, o);
	memset(digest, 0, sizeof(digest)); /* it was copied */
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		p = web_get(&w, "GET", paths[i], "");
		CHECK_INT(p.status, ==, 401);
		CHECK(has(p.head, "\r\nWWW-Authenticate: Bearer"));
		CHECK(!has(p.body, "onecopy_"));
		page_free(&p);
		CHECK_INT(web_status(&w, paths[i], good), !=, 401);
	}
	CHECK_INT(web_count(&w, DOOR_C_auth_failures), ==, ARRAY_LEN(paths));
	CHECK_INT(web_status(&w, "/metrics", good), ==, 200);
	CHECK_INT(web_status(&w, "/metrics",
			     "authorization: bearer " WEB_TOKEN "\r\n"),
		  ==, 200);
	CHECK_INT(web_status(&w, "/metrics", "Authorization: Bearer wrong\r\n"),
		  ==, 401);
	CHECK_INT(web_status(&w, "/metrics", "Authorization: Bearer \r\n"), ==,
		  401);
	CHECK_INT(web_status(&w, "/metrics",
			     "Authorization: Bearer " WEB_TOKEN "x\r\n"),
		  ==, 401);
	CHECK_INT(web_status(&w, "/metrics",
			     "Authorization: Basic " WEB_TOKEN "\r\n"),
		  ==, 401);
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	CHECK_INT(web_status(&w, "/health/ready", ""), ==, 200);
	CHECK_INT(web_status(&w, "/", ""), ==, 200);
	web_close(&w);
}

/* ---- clients that do not behave ---------------------------------------------- */

TEST(requests_that_are_too_long)
{
	struct web w;
	struct browser b;
	struct page p;
	char *text;

	web_open(&w, PLAIN);
	text = malloc(40000);
	CHECK(text);
	memset(text, 'a', 40000);
	memcpy(text, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", 35);
	b = browser_open(&w);
	browser_send(&b, text, 40000);
	p = browser_page(&b, false);
	CHECK(p.status == 0 || (p.status >= 400 && p.status < 500));
	page_free(&p);
	browser_close(&b);
	memcpy(text, "GET /", 5);
	memset(text + 5, 'a', 40);
	b = browser_open(&w);
	browser_send(&b, text, 40000);
	p = browser_page(&b, false);
	CHECK(p.status == 0 || (p.status >= 400 && p.status < 500));
	page_free(&p);
	browser_close(&b);
	free(text);
	CHECK_INT(web_status(&w, "/metrics", ""), ==, 200);
	web_close(&w);
}

TEST(what_is_not_http)
{
	static const char *const texts[] = {
		"\r\n\r\n\r\n\r\n",
		"*1\r\n$4\r\nPING\r\n\r\n\r\n",
		"GET\r\n\r\n",
		"GET /metrics\r\n\r\n",
		"\x16\x03\x01\x02\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
	};
	struct web w;

	web_open(&w, PLAIN);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct browser b = browser_open(&w);
		struct page p;

		browser_send(&b, texts[i], strlen(texts[i]));
		WEB_UNTIL(&w, web_count(&w, DOOR_C_connections) == i + 1);
		web_turn(&w);
		web_turn(&w);
		/* what it waits for does not come */
		http_tick(w.http, clock_ns() + 31 * NS_PER_S);
		p = browser_page(&b, false);
		CHECK(p.status == 0 || p.status >= 200);
		page_free(&p);
		browser_close(&b);
	}
	CHECK_INT(web_status(&w, "/metrics", ""), ==, 200);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 0);
	web_close(&w);
}

/* One that sends a byte now and then is ended all the same. */
TEST(a_slow_client)
{
	struct web w;
	struct browser b;
	struct page p;
	uint64_t now;

	web_open(&w, PLAIN);
	b = browser_open(&w);
	browser_send(&b, "GET /metr", 9);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 1);
	now = clock_ns();
	http_tick(w.http, now + 20 * NS_PER_S);
	browser_send(&b, "i", 1);
	web_turn(&w);
	CHECK_INT(web_count(&w, DOOR_C_stalled), ==, 0);
	http_tick(w.http, now + 31 * NS_PER_S);
	CHECK_INT(web_count(&w, DOOR_C_stalled), ==, 1);
	p = browser_page(&b, false);
	CHECK_INT(p.status, ==, 0);
	browser_close(&b);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 0);
	CHECK_INT(web_count(&w, DOOR_C_stalled), ==, 1);
	web_close(&w);
}

/* One that asks and asks, and reads nothing: others are answered. */
TEST(a_client_that_does_not_read)
{
	static const char one[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	struct web w;
	struct browser b;
	int small = 4096;

	web_open(&w, PLAIN);
	b = browser_open(&w);
	CHECK_OK(
		setsockopt(b.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	for (unsigned i = 0; i < 2000; i++) {
		/* as far as it goes */
		if (send(b.fd, one, sizeof(one) - 1, MSG_NOSIGNAL) < 0)
			CHECK(errno == EAGAIN);
		web_turn(&w);
	}
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	browser_close(&b);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 0);
	web_close(&w);
}

TEST(many_connections)
{
	struct http_options o = { .max_connections = 8 };
	struct browser b[40];
	struct web w;

	web_open(&w, o);
	for (unsigned i = 0; i < ARRAY_LEN(b); i++) {
		b[i] = browser_open(&w);
		web_turn(&w);
		/* half of them for one address */
		CHECK_INT(web_count(&w, DOOR_C_connections_now), <=, 4);
	}
	for (unsigned i = 0; i < ARRAY_LEN(b); i++)
		browser_close(&b[i]);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 0);
	CHECK_INT(web_status(&w, "/metrics", ""), ==, 200);
	web_close(&w);
}

/* Reports may take a part of the processor's time, and no more. */
TEST(too_many_reports)
{
	struct web w;
	struct page p;
	unsigned refused = 0, given = 0;

	web_open(&w, PLAIN);
	while (!refused) {
		p = web_get(&w, "GET", "/metrics", "");
		CHECK(p.status == 200 || p.status == 503);
		if (p.status == 503) {
			CHECK(has(p.head, "\r\nRetry-After: 1\r\n"));
			refused++;
			CHECK_INT(web_status(&w, "/health/ready", ""), ==, 200);
		} else {
			given++;
		}
		page_free(&p);
	}
	CHECK_INT(given, >, 10);
	WEB_UNTIL(&w, web_status(&w, "/metrics", "") == 200);
	web_close(&w);
}

/* ---- TLS --------------------------------------------------------------------- */

static char *pem_text(BIO *bio)
{
	char *data, *text;
	long n = BIO_get_mem_data(bio, &data);

	text = strndup(data, (size_t)n);
	CHECK(text);
	BIO_free(bio);
	return text;
}

/* A certificate that signs itself. */
static void make_certificate(char **ret_certificate, char **ret_key)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
	X509 *x = X509_new();
	X509_NAME *name;

	CHECK(key && x && a && b);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	name = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
				   (const unsigned char *)"localhost", -1, -1,
				   0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	CHECK_INT(X509_sign(x, key, EVP_sha256()), >, 0);
	CHECK(PEM_write_bio_X509(a, x));
	CHECK(PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL));
	*ret_certificate = pem_text(a);
	*ret_key = pem_text(b);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void handshake(struct browser *b, SSL_CTX *ctx)
{
	int r;

	b->ssl = SSL_new(ctx);
	CHECK(b->ssl && SSL_set_fd(b->ssl, b->fd));
	while ((r = SSL_connect(b->ssl)) != 1) {
		CHECK_INT(SSL_get_error(b->ssl, r), ==, SSL_ERROR_WANT_READ);
		web_turn(b->web);
	}
}

TEST(tls)
{
	static const char ask[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	struct http_options o = PLAIN;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	char *certificate, *key;
	struct browser b;
	struct page p;
	struct web w;

	CHECK(ctx);
	make_certificate(&certificate, &key);
	o.certificate = certificate;
	o.key = key;
	web_open(&w, o);
	free(certificate);
	free(key);
	b = browser_open(&w);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 1);
	handshake(&b, ctx);
	CHECK(SSL_version(b.ssl) >= TLS1_2_VERSION);
	for (unsigned i = 0; i < 2; i++) {
		browser_send(&b, ask, strlen(ask));
		p = browser_page(&b, false);
		CHECK_INT(p.status, ==, 200);
		CHECK(has(p.body, "\nonecopy_ready 1\n"));
		page_free(&p);
	}
	browser_close(&b);
	/* in the clear: no answer */
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 0);
	SSL_CTX_free(ctx);
	web_close(&w);
}

TEST(a_certificate_of_no_use)
{
	struct told *t = told_create();
	struct http_options o = {
		.report = &t->report,
		.certificate = "nonsense",
		.key = "nonsense",
	};
	struct http *h;
	int r;

	CHECK_OK(loop_create(LOOP_AUTO, &o.loop));
	o.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_OK(listen(o.listen_fd, 1));
	r = http_create(&o, &h);
	if (r == -ENOSYS)
		SKIP("built without libmicrohttpd or TLS");
	CHECK_INT(r, ==, -EINVAL);
	CHECK_INT(t->report.n_doors, ==, 1);
	close(o.listen_fd);
	loop_destroy(o.loop);
	told_destroy(t);
}

/* A connection that waits wakes nobody before its time is over. */
static void idle(enum loop_backend backend)
{
	static const char ask[] = "GET /health/live HTTP/1.1\r\nHost: x\r\n"
				  "\r\n";
	struct browser b;
	struct page p;
	struct web w;
	uint64_t now;

	web_open_on(&w, PLAIN, backend);
	b = browser_open(&w);
	for (unsigned i = 0; i < 3; i++) {
		browser_send(&b, ask, strlen(ask));
		p = browser_page(&b, false);
		CHECK_INT(p.status, ==, 200);
		page_free(&p);
	}
	/* what is left of the last event */
	for (unsigned i = 0; i < 10; i++)
		web_turn(&w);
	now = clock_ns();
	CHECK_INT(http_tick(w.http, now), >, now + NS_PER_S);
	CHECK_INT(loop_run(w.loop, 0), ==, 0);
	CHECK_INT(web_count(&w, DOOR_C_connections_now), ==, 1);
	CHECK_INT(web_count(&w, DOOR_C_connections), ==, 1);
	browser_close(&b);
	WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 0);
	web_close(&w);
}

TEST(idle_over_epoll)
{
	idle(LOOP_EPOLL);
}

TEST(idle_over_what_there_is)
{
	idle(LOOP_AUTO);
}

/* ---- life -------------------------------------------------------------------- */

/* The next server goes on with the same socket. */
TEST(the_listening_socket_goes_on)
{
	struct http_options o = PLAIN;
	struct web w;

	web_open(&w, o);
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	CHECK_INT(w.told->report.n_doors, ==, 2);
	http_destroy(w.http);
	CHECK_INT(w.told->report.n_doors, ==, 1);
	o.loop = w.loop;
	o.report = &w.told->report;
	o.listen_fd = w.listen_fd;
	CHECK_OK(http_create(&o, &w.http));
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	web_close(&w);
}

static unsigned fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* With a request under way, and everything given back. */
TEST(ended_in_the_middle)
{
	struct web w;
	struct browser b;
	unsigned before;

	web_open(&w, PLAIN);
	http_destroy(w.http);
	before = fds();
	for (unsigned i = 0; i < 3; i++) {
		struct http_options o = {
			.loop = w.loop,
			.report = &w.told->report,
			.listen_fd = w.listen_fd,
		};

		CHECK_OK(http_create(&o, &w.http));
		b = browser_open(&w);
		browser_send(&b, "GET /metrics", 12);
		WEB_UNTIL(&w, web_count(&w, DOOR_C_connections_now) == 1);
		http_destroy(w.http);
		browser_close(&b);
		CHECK_INT(fds(), ==, before);
	}
	w.http = NULL;
	web_close(&w);
}

TEST(creation_that_fails)
{
	struct http_options o = PLAIN;
	struct http *h = NULL;
	struct web w;
	uint64_t n;
	int r;

	web_open(&w, PLAIN);
	o.loop = w.loop;
	o.report = &w.told->report;
	o.listen_fd = w.listen_fd;
	for (n = 1;; n++) {
		fault_arm(FAULT_ALL, n, false);
		r = http_create(&o, &h);
		if (!fault_fired())
			break;
		CHECK(r == -ENOMEM || r == -EIO);
		CHECK_INT(w.told->report.n_doors, ==, 2);
	}
	fault_arm(0, 0, false);
	CHECK_OK(r);
	CHECK_INT(n, >, 2);
	http_destroy(h);
	CHECK_INT(web_status(&w, "/health/live", ""), ==, 200);
	web_close(&w);
}

/* Each answer is whole, says that it failed, or there is none. */
TEST(requests_that_fail)
{
	static const char *const paths[] = { "/metrics", "/v1/stat",
					     "/health" };
	struct web w;

	web_open(&w, PLAIN);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		for (uint64_t n = 1;; n++) {
			int status;

			fault_arm(FAULT_ALLOC, n, false);
			status = web_status(&w, paths[i], "");
			if (!fault_fired())
				break;
			CHECK(status == 0 || status == 200 || status == 500 ||
			      status == 503);
		}
		fault_arm(0, 0, false);
	}
	WEB_UNTIL(&w, web_status(&w, "/metrics", "") == 200);
	web_close(&w);
}

/* ---- other users of the machine ------------------------------------------------ */

/* The user of a socket is its maker's at that time. */
static struct browser stranger_open(struct web *w)
{
	struct browser b;

	CHECK_OK(seteuid(65534));
	b = browser_open(w);
	CHECK_OK(seteuid(0));
	return b;
}

static int stranger_status(struct web *w, const char *path, const char *more)
{
	struct browser b = stranger_open(w);
	char text[256];
	struct page p;
	int status, n = snprintf(text, sizeof(text),
				 "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path,
				 more);

	browser_send(&b, text, (size_t)n);
	p = browser_page(&b, false);
	status = p.status;
	page_free(&p);
	browser_close(&b);
	return status;
}

TEST(blocks_of_tenants_are_not_told_to_other_users)
{
	struct web w;

	if (geteuid() != 0)
		SKIP("only root can be somebody else");
	web_open(&w, PLAIN);
	CHECK_INT(web_status(&w, "/v1/stat", ""), ==, 200);
	CHECK_INT(stranger_status(&w, "/v1/stat", ""), ==, 403);
	CHECK_INT(stranger_status(&w, "/v1/where?key=00", ""), ==, 403);
	CHECK_INT(stranger_status(&w, "/v1/why?key=00", ""), ==, 403);
	CHECK_INT(stranger_status(&w, "/metrics", ""), ==, 200);
	CHECK_INT(stranger_status(&w, "/health", ""), ==, 200);
	web_close(&w);
}

/* One user that holds connections open leaves places for others, and for more
 * of its own when some end. */
TEST(one_user_has_a_part_of_the_places)
{
	struct browser b[20];
	struct web w;
	char end;

	if (geteuid() != 0)
		SKIP("only root can be somebody else");
	web_open(&w, PLAIN);
	for (unsigned i = 0; i < ARRAY_LEN(b); i++)
		b[i] = stranger_open(&w);
	CHECK_INT(web_status(&w, "/health", ""), ==, 200);
	/* the first sixteen wait, the rest were closed */
	for (unsigned i = 16; i < ARRAY_LEN(b); i++)
		CHECK_INT(recv(b[i].fd, &end, 1, 0), <=, 0);
	CHECK_INT(recv(b[15].fd, &end, 1, MSG_DONTWAIT), ==, -1);
	CHECK_INT(errno, ==, EAGAIN);
	for (unsigned i = 0; i < ARRAY_LEN(b); i++)
		browser_close(&b[i]);
	CHECK_INT(web_status(&w, "/health", ""), ==, 200);
	CHECK_INT(stranger_status(&w, "/health", ""), ==, 200);
	web_close(&w);
}

TEST(a_token_is_for_any_user)
{
	struct http_options o = { 0 };
	struct hash_piece piece = { WEB_TOKEN, sizeof(WEB_TOKEN) - 1 };
	uint8_t digest[32];
	struct web w;

	if (geteuid() != 0)
		SKIP("only root can be somebody else");
	CHECK_OK(hash_sha256(&piece, 1, digest));
	o.token_sha256 = digest;
	web_open(&w, o);
	CHECK_INT(stranger_status(&w, "/v1/stat", ""), ==, 401);
	CHECK_INT(stranger_status(&w, "/v1/stat",
				  "Authorization: Bearer " WEB_TOKEN "\r\n"),
		  ==, 200);
	web_close(&w);
}
