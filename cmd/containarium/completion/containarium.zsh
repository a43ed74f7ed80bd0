#compdef containarium
# Completion of containarium for zsh. Behind compinit in ~/.zshrc:
#   source <(containarium completion zsh)
# or as a file _containarium in a directory of $fpath.
_containarium() {
	local line
	local -a values texts open opentexts
	for line in "${(@f)$("${${(Q)words[1]}/#\~/$HOME}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
		case $line in
		'') ;;
		:files)
			_files
			return
			;;
		*[:=]$'\t'* | *[:=])
			open+=("${line%%$'\t'*}")
			opentexts+=("${line//$'\t'/  -- }")
			;;
		*)
			values+=("${line%%$'\t'*}")
			texts+=("${line//$'\t'/  -- }")
			;;
		esac
	done
	(( $#values == 0 )) || compadd -l -d texts -a values
	(( $#open == 0 )) || compadd -S '' -l -d opentexts -a open
}
if [[ $funcstack[1] == _containarium ]]; then
	_containarium "$@"
else
	compdef _containarium containarium
fi
