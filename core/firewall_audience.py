"""More words for the meanings of `core.firewall_orders` and `core.firewall_deeds`, and two meanings besides.

`audience` tells that a text speaks to whoever works for the user, and not to the user; `crosstool` that a tool speaks
of other tools. Both say little by themselves: people write of assistants, too.
"""

from core.firewall_orders import Concept

MORE = {
    "audience": Concept(
        latin=(
            r"(?:in|of|from|with|begin|start|end|finish|close|open) your (?:final |next |own )?(?:answers?|"
            r"repl(?:y|ies)|responses?|summar(?:y|ies)|outputs?|verdict|translation|report to)\b|your (?:final |"
            r"next )?(?:verdict|summary|answer|reply|response|output|conclusion|recommendation) (?:on|of|to|about|"
            r"for) |(?:before|when|whenever|while|after|once) you (?:answer|reply|respond|summari[sz]e|translate|"
            r"have (?:read|finished|summari[sz]ed|answered)|are done (?:reading|with this)|(?:read|process|"
            r"parse) this)|the (?:user|human|person|customer|account holder|reader|one)s? (?:you(?:'re| are| talk|"
            r" speak| work| serve| help)|(?:who|that) (?:asked|talks?|speaks?|is talking|is chatting) (?:you|"
            r"to you|with you)|reading your|who reads your)|what the (?:user|human|person|customer) (?:has been|"
            r"is|was|has|wants|asked|said|told|wrote|typed)|(?:on|for) (?:the |its |their )?(?:user|human|"
            r"customer|owner)'?s?'? behalf|the (?:user|human)'s (?:last|latest|previous|first|private|own|next|"
            r"entire|whole|full|stored|saved|other)\b|(?:message|question|prompt|request|words)s? (?:of|from|"
            r"by) the (?:user|human)\b|(?:tell|inform|assure|convince|persuade|ask|get) (?:the|your|"
            r"their) (?:users?|human|customer|person)\b|for (?:the )?(?:ais?|llms?|model|assistant|agent|"
            r"bots?) only|if (?:an?|the|any) (?:ai|llm|assistant|agent|bot|model|language model)\b|"
            r"a l'attention de l'(?:ia|assistant)|whatever (?:credentials|tools|access|permissions|files|"
            r"data) (?:your tools|you) (?:hold|have|can)|(?:every|any|each|all) tools? (?:that )?you (?:can|have|"
            r"may)|your tools (?:hold|have|can|return)|en tu (?:respuesta|resumen)|dans (?:ta|votre) (?:reponse|"
            r"synthese)|in deiner (?:antwort|zusammenfassung)|nella tua risposta|na sua resposta|in je antwoord"
        ),
        other=(r"в (?:своём|своем|твоём|твоем) ответе|在(?:你的)?(?:回答|回复|总结)中|回答の中で|답변에"),
    ),
    "crosstool": Concept(
        latin=(
            r"(?:any|every|each|all) (?:use of |call (?:to|of) )?(?:any |the )?other tools?\b|(?:do not|don'?t|"
            r"never|no longer|stop) (?:us(?:e|ing)|call(?:ing)?) [`'\x22]?[a-z]+(?:_[a-z]+)+ "
            r"(?:any ?more|again|directly|at "
            r"all|from now)|(?:has|have|needs?|"
            r"must|should|is|are) (?:all )?(?:to )?(?:go|be (?:sent|routed|done)) (?:through|via|"
            r"with) [`'\x22]?[a-z]+(?:_[a-z]+)+|(?:supersedes?|replaces?) [`'\x22]?[a-z]+(?:_[a-z]+)+|"
            r"(?:not (?:valid|complete|correct|ready)|wrong|incomplete|fails?|rejected) (?:until|"
            r"unless) you (?:have )?(?:also |first )?(?:call|run|us|invok)\w*|(?:everything|all|whatever|"
            r"anything) (?:that )?(?:the other|another|other|that|it|the) (?:tools? )?(?:has |have )?returned|"
            r"(?:must|should|have to|needs? to|requires? that you) (?:always |also |first )*(?:call|run|invoke|"
            r"use|disable) [`'\x22]?[a-z]+(?:_[a-z]+)+"
        ),
    ),
    "drop": Concept(
        latin=(
            r"(?:put|set|leave|lay|push) .{0,30}to one side|do(?:ing)? the (?:exact )?opposite of|"
            r"dropping (?:them|those|these|it)|lass(?:en sie|t)? .{0,40}beiseite|dejar? de lado|"
            r"laisse[zr]? de cote|lascia (?:perdere|da parte)|deixe de lado|laat .{0,30}(?:achterwege|los)|"
            r"(?:give|pay) (?:them|those|these|it) no (?:thought|heed|mind)"
        ),
    ),
    "void": Concept(
        latin=(
            r"(?:end|ends|stop|stops|finish|finishes) (?:here|now|with this)|(?:is|are) (?:over|finished|"
            r"history)\b|binds? you|(?:does|do) not (?:cover|bind|concern)|outrank\w*|(?:come|comes|go|"
            r"goes) (?:first|before)|(?:as|is|are|were|was) (?:a |only |just |an? old )*(?:draft|test|placeholder|"
            r"example|for the old)|(?:contain|had|made|was|were) (?:an )?(?:error|mistake)|ne (?:comptent|"
            r"valent) plus|ya no (?:cuentan|valen|aplican|sirven)|gelten (?:ab jetzt )?nicht|non (?:contano|"
            r"valgono)|ja nao (?:contam|valem)|gelden niet"
        ),
    ),
    "rules": Concept(
        latin=(
            r"assignments?|obligations?|limits? (?:that|placed|on you)|(?:what|everything|anything) (?:your|"
            r"the) (?:operator|developer|owner|creator)s? (?:configured|set|wrote|asked)|lo que te (?:pidieron|"
            r"dijeron)|wat je (?:eerder )?is gezegd|regles recues"
        ),
    ),
    "newtask": Concept(
        latin=(
            r"(?:carry on|continue|go on|proceed) with (?:mine|my|these|this|the (?:steps|list|rules))|(?:task|"
            r"job|work|assignment|instruction|rule)s? (?:is|are) (?:now )?(?:the one|those|this|what is|"
            r"what's) (?:described|below|here|that follow)|your (?:one|single) (?:obligation|task|job|goal|rule)|"
            r"(?:act|go|work|operate) (?:on|by|from|according to) (?:the|these|this) (?:paragraph|steps?|list|"
            r"rules?|text|instructions?|note) (?:below|here|that follows?)|(?:following|obeying|using|apply|"
            r"applying) (?:these|this|the ones below|mine) instead|what i want instead|(?:next|"
            r"required) action (?:is |required|needed)|real (?:job|task|work)\b|decode it,? (?:and )?then|"
            r"your (?:real|actual|true) \w+ hides"
        ),
    ),
    "granted": Concept(
        latin=(
            r"(?:hereby|explicitly|now) (?:allow|permit|authori[sz]e|clear|entitle)s? you|(?:have|has) (?:cleared|"
            r"allowed|authori[sz]ed|permitted|entitled) you|(?:prompts?|dialogs?|questions?|checks?) (?:may|can|"
            r"should) be (?:answered|confirmed|skipped|accepted)|(?:told|asked|assured) (?:me|"
            r"us) .{0,25}that you (?:should|may|can|will)|(?:hat|haben) (?:\w+ ){0,4}(?:zugestimmt|genehmigt|"
            r"freigegeben|erlaubt)|(?:a|ont) deja (?:accepte|approuve|autorise|valide)|ya (?:ha )?(?:aprob|"
            r"autoriz|acept|confirm)\w+|ha gia (?:approv|autorizz|accett)\w+|ja (?:aprov|autoriz|aceit)\w+"
        ),
    ),
    "noask": Concept(
        latin=(
            r"no questions(?: asked)?\b|ohne nachzufragen|confirm the (?:dialog|prompt|warning|question)s?|"
            r"answer(?:ed)? (?:it |them )?(?:with )?yes\b|no need to (?:check|ask|confirm)|skip the (?:permission|"
            r"fraud|security|second|approval|confirmation)\w* \w+|without the (?:usual|second|normal)"
        ),
    ),
    "secrecy": Concept(
        latin=(
            r"(?:should|must|may|need|will) (?:not|never) (?:find out|learn|hear|notice|discover)|"
            r"no need for .{0,40} to (?:hear|know|learn|find out)|without (?:a|any) (?:word|mention)|(?:skip|"
            r"leave out|omit) this (?:paragraph|part|note|line|section)|(?:erwahne[n]?|nenne) (?:sie )?(?:es|dies|"
            r"das|davon) .{0,40}nicht|ne parle[zr]? pas de (?:ceci|cela|ca)|say (?:the|that the|"
            r"it) .{0,40}(?:like that|was so|always) before|no le (?:cuentes|digas) nada"
        ),
    ),
    "tellnot": Concept(
        latin=(
            r"(?:user|human|person|operator|customer|owner|account holder|reader)s?(?: \w+){0,4} (?:should|must|"
            r"may|shall|need|is|are) (?:not|never) (?:to )?(?:ever )?(?:find out|learn|hear|know|see|notice|"
            r"be (?:told|informed))"
        ),
    ),
    "send": Concept(
        latin=(
            r"(?:do|make|issue|perform) an? (?:get|post|put) (?:on|to|at)|(?:tell|inform|notify|ping) (?:the |"
            r"our |this )?(?:webhook|endpoint|server|url)|has to reach|redirects? (?:\w+ ){0,4}to|share (?:the |"
            r"this |that |your )?(?:\w+ ){0,2}with|copied (?:in|to)|bcc:|copy_to"
        ),
    ),
    "asset": Concept(
        latin=(
            r"(?:the|these|those|all|any|every|each|your|their|whole|full|last|latest|most recent|stored|saved|"
            r"this)(?: \w+){0,2} (?:appointments?|invoices?|rows|sheets?|figures|chats?|lists?|entries|contacts|"
            r"drive|archive|photos?|orders?|accounts?|payslips?|calendar)\b|(?:a )?copy of (?:this|the|all|every|"
            r"each)|what the (?:user|customer|human)|everything from|last message|ultimos (?:\w+ )?(?:mensajes|"
            r"correos)|derniers messages|letzten (?:nachrichten|e-?mails)|kundenliste|historial de|"
            r"ultimi messaggi|laatste berichten"
        ),
    ),
    "harm": Concept(
        latin=(
            r"(?:remove|delete|kick|expel) (?:every|each|all) \w+ (?:except|but)|(?:branch|fraud|payment|spend\w*|"
            r"rate) (?:protection|alerts?|limits?) (?:off|down)|turn .{0,30}protection off|"
            r"unsubscribe .{0,30}(?:alerts?|warnings?)|raise (?:the|their|my) .{0,20}limit|(?:scale|"
            r"shut) .{0,40}(?:to zero|down)|close (?:their|the user'?s?|his|her) account|refund (?:the )?(?:full|"
            r"whole|entire)|change the (?:account|bank|iban|routing) (?:number|details)|cambia (?:la|"
            r"el) (?:cuenta|destinatario|iban)|change[zr]? (?:le|la) (?:compte|destinataire|rib|iban)|"
            r"andere? (?:die|das) (?:kontonummer|konto|iban|empfanger)|fuhre? (?:sie|die (?:uberweisung|"
            r"zahlung)) (?:aus|durch)|hand out (?:internal|private|confidential)|supprime[zr]? les (?:journaux|"
            r"fichiers)"
        ),
    ),
    "grade": Concept(
        latin=(
            r"(?:leave out|omit|skip|drop|suppress) (?:all |anything |everything |what |the )+(?:that is |that's |"
            r"is )?(?:negative|critical|bad|weak|missing|unfavou?rable)|your (?:verdict|opinion|assessment|rating|"
            r"score|conclusion|recommendation|ranking|summary) .{0,40}(?:has to|must|should|shall|is to|"
            r"needs to) (?:be|say|read)|the (?:one|only|single) (?:correct|right|true) answer to|"
            r"answer that (?:only|just)\b|(?:do not|don'?t|never) (?:bring up|mention|raise) the (?:missing|weak|"
            r"negative|lack)|(?:is|are) (?:fully|completely) trusted"
        ),
    ),
    "prompt": Concept(
        latin=(
            r"(?:very )?first (?:sentences?|words?|lines?|things?) you (?:received|got|were given|saw)|"
            r"(?:block of )?text that (?:sits|stands|comes|is) (?:above|before)|your (?:guidelines|rules|"
            r"instructions|briefing) (?:into|as) an? (?:poem|song|story|list|table|code block|haiku)|"
            r"every (?:tool|function) (?:that )?you (?:can|may) (?:call|use)"
        ),
    ),
    "urlvar": Concept(
        other=(
            r"\bhttps?://[^\s)\x22'>]{0,300}[?&/][a-z_]{0,30}=?(?:\{[^}\n]{2,60}\}|<[^>\n]{2,60}>|"
            r"\[[^\]\n]{2,60}\])|\bhttps?://[^\s)\x22'>]{0,300}[?&][a-z_]{1,20}=(?:[\x22'`)]|\s|"
            r"$).{0,20}(?:followed by|plus|with|and then|\+)"
        ),
    ),
}
"""Name to more ways of saying it."""


def joined(*words: dict[str, Concept]) -> dict[str, Concept]:
    """All meanings, each with all its ways of saying it."""
    found: dict[str, Concept] = {}
    for some in words:
        for name, more in some.items():
            known = found.get(name, Concept())
            latin, other = (
                "|".join(filter(None, pair)) for pair in ((known.latin, more.latin), (known.other, more.other))
            )
            found[name] = Concept(latin=latin, other=other)
    return found
