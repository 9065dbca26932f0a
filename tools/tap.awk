# Read meson's testlog.txt, or plain TAP, and print one line for each test point:
#
#	pass BUILD TEST
#	skip BUILD TEST: REASON
#	fail BUILD TEST		followed by lines "text LINE", its output
#
# separated by tabs. A program that ended badly, or printed fewer points than it
# had planned, is one failure more.

function finish(    why, i)
{
	if (name == "")
		return
	why = ""
	if (bail != "")
		why = bail
	else if (result != "" && result !~ /^exit status 0$/ && !failed)
		why = "ended with " result
	else if (plan >= 0 && points != plan)
		why = "printed " points " of " plan " results"
	else if (plan < 0 && points == 0)
		why = "printed no result"
	if (why != "") {
		print "fail\t" build "\t" name " " why
		for (i = 1; i <= lines; i++)
			print "text\t" text[i]
	}
	name = ""
}

function begin(what)
{
	name = what
	result = bail = section = ""
	plan = -1
	points = failed = lines = in_failure = 0
}

function full(label)
{
	return name == "tap" ? label : name "." label
}

BEGIN { name = "" }

/^=+ [0-9]+\/[0-9]+ =+$/ {
	finish()
	begin("unknown")
	section = "head"
	next
}

# Plain TAP has no heading.
FNR == 1 && (/^1\.\./ || /^(not )?ok /) {
	begin("tap")
	section = "stdout"
}

section == "head" && /^test: / { sub(/^test: +([^\/]* \/ )?/, ""); name = $0; next }
section == "head" && /^result: / { sub(/^result: +/, ""); result = $0; next }
/^-+ stdout -+$/ && name != "" { section = "stdout"; next }
/^-+ stderr -+$/ && name != "" { section = "stderr"; in_failure = 0; next }
/^=+$/ && name != "" { section = ""; next }

section == "stderr" {
	if (lines < 100)
		text[++lines] = $0
	next
}
section != "stdout" { next }

/^1\.\.[0-9]+/ {
	plan = substr($1, 4) + 0
	if (plan == 0) {
		sub(/^[^#]*#? */, "")
		print "skip\t" build "\t" name ": " $0
		points = 0
	}
	next
}
/^Bail out!/ { bail = $0; next }
/^ok( |$)/ {
	points++
	in_failure = 0
	sub(/^ok *[0-9]* *-? */, "")
	if (match($0, / *# *[Ss][Kk][Ii][Pp][A-Za-z]* */))
		print "skip\t" build "\t" full(substr($0, 1, RSTART - 1)) ": " \
			substr($0, RSTART + RLENGTH)
	else
		print "pass\t" build "\t" full($0)
	next
}
/^not ok( |$)/ {
	points++
	failed++
	in_failure = 1
	sub(/^not ok *[0-9]* *-? */, "")
	print "fail\t" build "\t" full($0)
	next
}
in_failure && /^#/ { sub(/^# ?/, ""); print "text\t" $0; next }
lines < 100 { text[++lines] = $0 }

END { finish() }
