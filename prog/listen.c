/* SPDX-License-Identifier: Apache-2.0 */
/* The pure part: addresses and the rule. */
#include "listen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include "base/text.h"

#define MAPPED_AT 12 /* of ::ffff:a.b.c.d: where the address of IPv4 is */

static void set_v4(struct sockaddr_storage *at, const void *addr, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons(port) };

	memcpy(&in.sin_addr, addr, sizeof(in.sin_addr));
	*at = (struct sockaddr_storage){ 0 };
	memcpy(at, &in, sizeof(in));
}

static int parse_v4(const char *host, uint16_t port,
		    struct sockaddr_storage *ret_at)
{
	struct in_addr addr;

	if (strcmp(host, "localhost") == 0)
		addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (inet_pton(AF_INET, host, &addr) != 1)
		return -EINVAL;
	set_v4(ret_at, &addr, port);
	return 0;
}

static int parse_v6(const char *host, uint16_t port,
		    struct sockaddr_storage *ret_at)
{
	struct sockaddr_in6 in = { .sin6_family = AF_INET6,
				   .sin6_port = htons(port) };

	if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
		return -EINVAL;
	if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
		set_v4(ret_at, in.sin6_addr.s6_addr + MAPPED_AT, port);
		return 0;
	}
	*ret_at = (struct sockaddr_storage){ 0 };
	memcpy(ret_at, &in, sizeof(in));
	return 0;
}

int listen_parse(const char *text, struct sockaddr_storage *ret_at)
{
	char host[CONFIG_LISTEN], *colon;
	uint64_t port;
	size_t len;

	if (strcmp(text, "off") == 0)
		return 1;
	if (text_copy(host, sizeof(host), text))
		return -EINVAL;
	colon = strrchr(host, ':');
	if (!colon || text_parse_u64(colon + 1, UINT16_MAX, &port))
		return -EINVAL;
	*colon = '\0';
	len = strlen(host);
	if (host[0] != '[')
		return parse_v4(host, (uint16_t)port, ret_at);
	if (host[len - 1] != ']')
		return -EINVAL;
	host[len - 1] = '\0';
	return parse_v6(host + 1, (uint16_t)port, ret_at);
}

static bool is_loopback_v4(const uint8_t *addr)
{
	return addr[0] == 127;
}

bool listen_is_loopback(const struct sockaddr_storage *at)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (at->ss_family == AF_INET) {
		memcpy(&v4, at, sizeof(v4));
		return is_loopback_v4((const uint8_t *)&v4.sin_addr);
	}
	if (at->ss_family != AF_INET6)
		return false;
	memcpy(&v6, at, sizeof(v6));
	if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
		return is_loopback_v4(v6.sin6_addr.s6_addr + MAPPED_AT);
	return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

const char *listen_text(const struct sockaddr_storage *at,
			char buf[LISTEN_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (at->ss_family == AF_INET6) {
		memcpy(&v6, at, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
		snprintf(buf, LISTEN_TEXT, "[%s]:%u", host,
			 ntohs(v6.sin6_port));
	} else {
		memcpy(&v4, at, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
		snprintf(buf, LISTEN_TEXT, "%s:%u", host, ntohs(v4.sin_port));
	}
	return buf;
}

/* ---- the rule ------------------------------------------------------------ */

unsigned listen_missing(const struct node_config *config, enum listen_door door,
			const struct sockaddr_storage *at)
{
	const struct config_resp *resp = &config->resp;
	const struct config_http *http = &config->http;
	bool is_resp = door == LISTEN_RESP;
	bool auth = is_resp ? resp->has_password || resp->n_users
			    : http->has_token;
	bool tls = is_resp ? resp->certificate[0] : http->certificate[0];
	unsigned without = is_resp ? resp->without : http->without;

	if (listen_is_loopback(at))
		return 0;
	return ((auth ? 0 : CONFIG_WITHOUT_AUTH) |
		(tls ? 0 : CONFIG_WITHOUT_TLS)) &
	       ~without;
}

struct mending {
	const char *name, *auth, *tls;
};
static const struct mending mendings[LISTEN_DOORS] = {
	[LISTEN_RESP] = { "resp", "resp.password or --resp-password-file",
			  "resp.tls or --resp-tls-cert and --resp-tls-key" },
	[LISTEN_HTTP] = { "http", "http.token or --http-token-file",
			  "http.tls" },
};

int listen_judge(const struct node_config *config, enum listen_door door,
		 const struct sockaddr_storage *at, char error[LISTEN_ERROR])
{
	const struct mending *m = &mendings[door];
	unsigned missing = listen_missing(config, door, at);
	bool auth = missing & CONFIG_WITHOUT_AUTH;
	bool tls = missing & CONFIG_WITHOUT_TLS;
	char text[LISTEN_TEXT];

	if (!missing)
		return 0;
	snprintf(error, LISTEN_ERROR,
		 "%s on %s can be reached from other machines and has no "
		 "%s%s%s: give it %s%s%s, or say that it does without: "
		 "--%s-without %s%s%s",
		 m->name, listen_text(at, text), auth ? "authentication" : "",
		 auth && tls ? " and no " : "", tls ? "TLS" : "",
		 auth ? m->auth : "", auth && tls ? ", and " : "",
		 tls ? m->tls : "", m->name, auth ? "authentication" : "",
		 auth && tls ? "," : "", tls ? "tls" : "");
	return -EPERM;
}
