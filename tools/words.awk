# The rules of tools/check-words; reads the names of the files.

BEGIN {
	ban("atoi atol atof", "use strtol and check its end")
	ban("strcpy strcat sprintf vsprintf gets", "is not bounded")
	ban("strtok", "keeps hidden state")
	ban("alloca __builtin_alloca", "is not bounded")
	ban("assert", "use the assertions of base/")
	ban("dup", "opens without close-on-exec: use fcntl F_DUPFD_CLOEXEC")
	ban("dup2", "opens without close-on-exec: use dup3 with O_CLOEXEC")
	ban("pipe", "opens without close-on-exec: use pipe2")
	ban("accept", "opens without close-on-exec: use accept4")
	ban("creat", "opens without close-on-exec: use open")
	ban("epoll_create", "opens without close-on-exec: use epoll_create1")
	ban("inotify_init", "opens without close-on-exec: use inotify_init1")
	ban("mkstemp", "opens without close-on-exec: use mkostemp")

	need("open openat open64 openat64 dup3 pipe2 mkostemp", "O_CLOEXEC")
	need("io_uring_prep_openat", "O_CLOEXEC")
	need("socket socketpair accept4", "SOCK_CLOEXEC")
	need("io_uring_prep_socket io_uring_prep_accept", "SOCK_CLOEXEC")
	need("io_uring_prep_multishot_accept", "SOCK_CLOEXEC")
	need("memfd_create", "MFD_CLOEXEC")
	need("eventfd", "EFD_CLOEXEC")
	need("epoll_create1", "EPOLL_CLOEXEC")
	need("timerfd_create", "TFD_CLOEXEC")
	need("signalfd", "SFD_CLOEXEC")
	need("inotify_init1", "IN_CLOEXEC")
	need("recvmsg io_uring_prep_recvmsg", "MSG_CMSG_CLOEXEC")
	need("perf_event_open", "PERF_FLAG_FD_CLOEXEC")

	in_tests("sleep usleep nanosleep clock_nanosleep thrd_sleep",
		"a test waits for a condition")
	in_src("exit quick_exit", "the library never ends the process")
}

function ban(names, why) { enter(banned, names, why) }
function need(names, flag) { enter(needed, names, flag) }
function in_tests(names, why) { enter(banned_in_tests, names, why) }
function in_src(names, why) { enter(banned_in_src, names, why) }
function enter(table, names, value,    list, n, i)
{
	n = split(names, list, " ")
	for (i = 1; i <= n; i++)
		table[list[i]] = value
}

# Blank out comments, and the insides of strings and characters.
function strip(text,    out, c, two, i, quote)
{
	out = ""
	quote = ""
	for (i = 1; i <= length(text); i++) {
		c = substr(text, i, 1)
		two = substr(text, i, 2)
		if (in_comment) {
			if (two == "*/") {
				in_comment = 0
				i++
			}
		} else if (quote != "") {
			if (c == "\\")
				i++
			else if (c == quote) {
				quote = ""
				out = out c
			}
		} else if (two == "/*") {
			in_comment = 1
			i++
			out = out " "
		} else if (two == "//") {
			break
		} else {
			if (c == "\"" || c == "'")
				quote = c
			out = out c
		}
	}
	return out
}

function complain(line, what)
{
	print file ":" line ": " what
	bad = 1
}

# The call that begins at column "at" of line "line", up to its closing bracket;
# sets call_excused.
function call_text(line, at,    text, out, depth, i, c, n)
{
	out = ""
	depth = 0
	call_excused = 0
	call_raw = ""
	for (n = line; n <= lines && n < line + 20; n++) {
		call_raw = call_raw " " raw[n]
		if (raw[n] ~ /words:/)
			call_excused = 1
		text = n == line ? substr(code[n], at) : code[n]
		for (i = 1; i <= length(text); i++) {
			c = substr(text, i, 1)
			out = out c
			if (c == "(")
				depth++
			else if (c == ")" && --depth == 0)
				return out
		}
		out = out " "
	}
	return out
}

function check_call(line, name, at,    text)
{
	text = call_text(line, at)
	if (call_excused)
		return
	if (name in banned)
		complain(line, name ": " banned[name])
	if ((name in needed) && index(text, needed[name]) == 0)
		complain(line, name " without " needed[name])
	if ((name in banned_in_tests) && file ~ /^tests\//)
		complain(line, name ": " banned_in_tests[name])
	if ((name in banned_in_src) && file ~ /^src\//)
		complain(line, name ": " banned_in_src[name])
	if (name == "fopen" && call_raw !~ /"[rwa][+b]*[a-z+]*e/)
		complain(line, "fopen without \"e\" (close-on-exec)")
	if (name == "fcntl" && text ~ /F_DUPFD[^_]/)
		complain(line, "F_DUPFD without _CLOEXEC")
}

function check_line(line,    rest, from, name, before)
{
	rest = code[line]
	from = 1
	while (match(rest, /[A-Za-z_][A-Za-z_0-9]*[ \t]*\(/)) {
		name = substr(rest, RSTART, RLENGTH - 1)
		sub(/[ \t]+$/, "", name)
		before = RSTART > 1 ? substr(rest, RSTART - 1, 1) : ""
		# x.open( and x->open( are members; 0x1f( cannot be
		if (before !~ /[.>A-Za-z_0-9]/)
			check_call(line, name, from + RSTART - 1)
		from += RSTART + RLENGTH - 1
		rest = substr(code[line], from)
	}
	if (raw[line] ~ /words:/)
		return
	rest = code[line]
	gsub(/(asm|__asm__)[ \t]+volatile/, "", rest)
	gsub(/volatile[ \t]+sig_atomic_t/, "", rest)
	if (rest ~ /(^|[^A-Za-z_0-9])volatile([^A-Za-z_0-9]|$)/)
		complain(line, "volatile: use _Atomic with an explicit order")
	if (raw[line] ~ /^[ \t]*#[ \t]*include[ \t]*"\.\.?\//)
		complain(line, "#include from a relative path")
}

{
	file = $0
	lines = 0
	in_comment = 0
	while ((getline text < file) > 0) {
		raw[++lines] = text
		code[lines] = strip(text)
	}
	close(file)
	for (i = 1; i <= lines; i++)
		check_line(i)
}

END { exit bad }
