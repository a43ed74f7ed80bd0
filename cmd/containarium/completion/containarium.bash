# Completion of containarium for bash. In ~/.bashrc:
#   source <(containarium completion bash)
_containarium() {
	local line=${COMP_LINE:0:COMP_POINT} word prefix='' cut candidate
	local -a words
	read -ra words <<<"$line"
	[[ $line != *[[:space:]] ]] || words+=('')
	word=${words[-1]}
	# bash takes ":" and "=" for the ends of words, and replaces only what is behind.
	cut=${word##*[:=]}
	if [[ $cut != "$word" && $COMP_WORDBREAKS == *"${word:${#word}-${#cut}-1:1}"* ]]; then
		prefix=${word%"$cut"}
	fi
	COMPREPLY=()
	while IFS= read -r candidate; do
		if [[ $candidate == :files ]]; then
			compopt -o filenames 2>/dev/null
			while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "$cut")
			return
		fi
		candidate=${candidate%%$'\t'*}
		COMPREPLY+=("${candidate#"$prefix"}")
	done < <("${words[0]/#\~/$HOME}" __complete "${words[@]:1}" 2>/dev/null)
	if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:=] ]]; then
		compopt -o nospace 2>/dev/null
	fi
}
complete -F _containarium containarium
