"""Words of those who give orders: what is set aside, who is spoken to, in whose name, and what is to be kept quiet.

Patterns are RE2 over text as `core.firewall_readings` gives it: lower case, no accents, no look-alikes. They are told
apart by what they mean and not by language, so that one grammar (`core.firewall_signals`) reads them all.
"""

import msgspec


class Concept(msgspec.Struct, frozen=True, kw_only=True):
    """One meaning: `latin` and `other` are alternations, either may be empty."""

    latin: str = ""
    other: str = ""

    @property
    def parts(self) -> list[str]:
        return [part for part in (self.latin, self.other) if part]

    @property
    def pattern(self) -> str:
        """Latin words begin where a word does; those of scripts without spaces may stand anywhere."""
        parts = [rf"\b(?:{self.latin})"] if self.latin else []
        return "|".join([*parts, self.other] if self.other else parts)


ORDERS = {
    "drop": Concept(
        latin=(
            r"ignore\b|ignor(?:a|ad|ar|en|ez|er|i|iere|ieren|uj|ujcie|era|eer)\b|disregard\b|forget(?: about)?\b|"
            r"dis-?obey|pay no (?:attention|heed)|don'?t pay (?:any )?attention|do not pay (?:any )?attention|"
            r"tune out|look past|overlook (?:all|any|the|your)|refuse to (?:follow|obey)|rather than (?:follow|obey|"
            r"do|answer)\w*|(?:set|put|push|brush|leave|lay) (?:it |them |all |everything |that |those |these )?aside|"
            r"throw (?:out|away)|(?:do not|don'?t|never|no longer|stop|cease|quit|without|not|neither) (?:follow|obey|"
            r"adher|comply|heed|honou?r|listen|observ|respect|abid|apply)(?:ing|e)?\b|unlearn|(?:do not|don'?t|never|"
            r"no need to|stop) (?:do|doing|worry about|bother with|care about|carry out|complete|finish|continue|"
            r"perform|execute) (?:what|the (?:user|task|request|original|previous)|your|that|any of)|move past|"
            r"let go of|start over|start fresh|begin again|(?:pretend|act as if|assume) (?:that )?(?:you|the|there|"
            r"all|those|these|your) .{0,30}(?:never|did not|didn'?t|no longer)|(?:wipe|erase|abandon|scrap|discard|"
            r"drop|delete|reject|clear|reset|cancel) (?:all |any |every |the )*(?:of )?(?:your|prior|previous|"
            r"preceding|earlier|above)\b|(?:can|may|should|must|will|have to|need to|want you to|free to|are to|"
            r"feel free to) (?:now |safely |simply |just |completely |please )*(?:ignore|disregard|forget|skip|bypass|"
            r"override|break|violate)\b|(?:do not|don'?t|stop) (?:listen|listening|answer|answering|help|helping|"
            r"serve|serving|trust|obey|obeying) |(?:must|should|do) not (?:summari[sz]e|answer|translate|process|"
            r"complete|analy[sz]e|reply to) (?:this|the|that|it)\b|leave .{0,30}(?:unanswered|undone|aside)|(?:free|"
            r"allowed|permitted|required|instructed|told|asked|ordered) to (?:ignore|disregard|break|violate|bypass)|"
            r"olvid[ae]|descart[ae]|haz caso omiso|hagan? caso omiso|no (?:sigas|siga|obedezcas|hagas caso)|"
            r"pasa por alto|oublie[zr]?|ne (?:tiens|tenez|tenir) (?:pas|plus) compte|(?:fais|faites) (?:abstraction|"
            r"fi)|ne (?:suis|suivez|respecte[zr]?) (?:pas|plus)|vergiss|vergessen|missachte|ubergeh|befolge (?:nicht|"
            r"keine)|lass .{0,20} ausser acht|beachte .{0,40}nicht|dimentica|trascura|non (?:seguire|tenere conto|"
            r"rispettare)|esqueca|desconsidere|nao (?:siga|obedeca)|negeer|vergeet|volg .{0,20} niet|zignoruj|"
            r"zapomnij|pomin|nie (?:przestrzegaj|stosuj)|yok say|gormezden gel|dikkate alma|goz ardi|unut|zapomen|"
            r"bortse fran|glom|se bort fra|glem|jata huomiotta|unohda|alaki valita|abaikan|lupakan|bo qua|quen (?:di|"
            r"het)|hagyd figyelmen|felejts|uita (?:de|toate)"
        ),
        other=(
            r"игнорир|игноруй|ігнору|забудь|забуд|не обращай|не следуй|не выполняй|отбрось|пренебре|не зважай|忽略|"
            r"忽视|無視|无视|忘记|忘記|忘掉|不要理会|不要遵守|不要遵循|不用遵守|抛开|拋開|作废|不再适用|忘れ|従わない|"
            r"従うな|破棄し|무시|잊어|잊으|따르지|تجاهل|انس |إنس|اهمل|لا تتبع|अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल जा|"
            r"उपेक्षा|התעלם|התעלמ|שכח|αγνοησ|ξεχασ|เพิกเฉย|ไม่ต้องสนใจ|ลืม|উপেক্ষা|نادیده"
        ),
    ),
    "void": Concept(
        latin=(
            r"(?:no longer|not|isn'?t|aren'?t) (?:bound|apply|applies|valid|binding|relevant|in (?:force|effect)|"
            r"active)|(?:do|does|did)(?:n'?t| not| no longer) (?:apply|applies|count|matter|hold)|no longer (?:have|"
            r"need|has|required|obliged|bound)|(?:are|is|was|were|be|been|have|has) (?:now |hereby |been |all |"
            r"no longer |)*(?:void|null|revoked|lifted|suspended|cancell?ed|obsolete|superseded|overridden|invalid|"
            r"deprecated|nullified|rescinded|replaced|disabled|removed|withdrawn|changed|expired|invalidated|outdated|"
            r"retired|dropped|wrong|off|waived|relaxed|rewritten|a test|a mistake|an error|completed?|finished|over|"
            r"corrupted)|(?:counts?|matters?|applies|apply) (?:any ?more|no (?:more|longer))|not? (?:longer )?count|"
            r"replaces? (?:it|them|all|everything|any|your|the)\b|supersedes?|(?:take|takes|has|have|gets?|with|"
            r"higher) (?:precedence|priority)|cancell?ed\b|ya no|ne (?:s'appliquent|sont) plus|gelten nicht mehr|"
            r"sind (?:ungultig|aufgehoben)|non (?:valgono|si applicano) piu|nao (?:valem|se aplicam) mais"
        ),
        other=(
            r"不再适用|不再有效|已(?:经)?(?:作废|失效|取消)|больше не действу|отменен|отменяются|無効|더 이상 (?:적용|"
            r"유효)"
        ),
    ),
    "override": Concept(
        latin=(
            r"overrid(?:e|es|ing)|overrul(?:e|es|ing)|bypass|circumvent|supersed(?:e|es|ing)|ignor(?:es|ed|ing)|"
            r"disregard(?:s|ed|ing)|forgetting|discard|scrap|abandon|drop|replac(?:e|es|ing)|cancel|void|nullify|skip|"
            r"violate|break|disobey|reset|clear|neglect|dismiss|suspend|lift|deactivat(?:e|ing)|turn off|switch off|"
            r"disabl(?:e|ing)|remov(?:e|ing)|get around|anula|omite|contourne|umgeh|setz .{0,30}ausser kraft|aggira|"
            r"contorne|omzeil|obejdz"
        ),
        other=r"обойди|отмени|отключи|绕过|跳过|覆盖|回避|迂回|우회|تجاوز|बायपास",
    ),
    "rules": Concept(
        latin=(
            r"everything\b|all of (?:that|this|it|them|those|these)\b|instructions?|rules?|guidance|guidelines?|"
            r"brief(?:ing)?\b|mandates?|norms|principles|regulations?|system prompt|personal data polic|directives?|"
            r"directions?|prompts?|polic(?:y|ies)|constraints?|restrictions?|limitations?|safeguards?|guardrails?|"
            r"commands?|orders?|programming|training|(?:safety|content|ethical) (?:measures|protocols?|filters?|"
            r"checks?|settings?|guidelines?)|protocols?|(?:system|developer) messages?|what(?:ever)? (?:you (?:were|"
            r"have been|'ve been) (?:told|given|asked|taught)|came before|was said|i said)|everything (?:above|before|"
            r"prior|earlier|else|you (?:were|have been|'ve been|know))|(?:text|content|context|conversation|messages?|"
            r"tasks?|requests?|goals?|objectives?|information) (?:above|before|so far|given)|(?:the |"
            r"this )?user'?s? (?:original |actual |initial )?(?:requests?|questions?|query|queries|instructions?|"
            r"messages?|intent|wishes|input|prompt)|the (?:request|question|query|user|summary|rubric|document|"
            r"task)\b|scoring rubric|(?:previous|prior|above|earlier|preceding|original|initial|current|assigned|"
            r"other) (?:context|conversation|messages?|tasks?|goals?|objectives?|requests?|text|content|questions?|"
            r"roles?|prompting|inputs?)|(?:all|everything) (?:of )?(?:the )?(?:above|previous|preceding|"
            r"that came before|prior)|(?:anything|everything|nothing|all|whatever) (?:that )?(?:you|the (?:user|"
            r"developer|operator|person|system)|i) (?:were|was|are|is|have been|has|said|say|says|told|asks?|asked|"
            r"wants?|wrote)|the person you|instruccion(?:es)?|reglas|directrices|indicaciones|ordenes|consignes?|"
            r"regles|anweisung(?:en)?|instruktion(?:en|er|erna)?|regeln?|vorgaben|befehle?|richtlinien|istruzion[ei]|"
            r"regole|direttive|instruc(?:oes|ao)|regras|diretrizes|instructies?|regels|opdracht(?:en)?|"
            r"instrukcj[aeię]|polecen(?:ia|ie)|zasad|wytyczn|talimat|kural|yonerge|pokyny|instrukce|anvisning|regler|"
            r"ohjee|ohjeita|saantoj|instruksi|perintah|aturan|huong dan|chi dan|chi thi|quy tac|menh lenh|utasitas|"
            r"instructiuni"
        ),
        other=(
            r"инструкц|указани|правил|команд|распоряжени|приказ|вказівк|інструкц|指令|指示|规则|規則|提示词|提示詞|"
            r"命令|规定|限制|ルール|プロンプト|ガイドライン|制約|지시|명령|규칙|지침|프롬프트|تعليمات|الاوامر|الأوامر|"
            r"القواعد|توجيهات|निर्देश|नियम|आदेश|הוראות|הנחיות|οδηγιε|οδηγίε|κανονε|คำสั่ง|คำแนะนำ|กฎ|নির্দেশ|دستور"
        ),
    ),
    "prior": Concept(
        latin=(
            r"previous(?:ly)?|prior|above|earlier|preceding|former|foregoing|original|initial|existing|all|any|every|"
            r"your|so far|until now|up to (?:now|this point)|(?:given|told|provided|assigned) (?:to you|before|"
            r"earlier|you)|you (?:were|have been|had|received|'ve been)|system|developer'?s?|safety|old|other|"
            r"before (?:this|now)|openai'?s?|anthropic'?s?|operator'?s?|creators?'?|owner'?s|anterior(?:es)?|"
            r"previ[oa]s|tus|todas?|todos|precedent[ei]?s?|anterieure?s?|ci-dessus|tes|vos|toutes?|vorherige[nrs]?|"
            r"bisherige[nrs]?|obige[nrs]?|vorige[nrs]?|vorangegangene[nrs]?|fruhere[nrs]?|deine[nrs]?|alle[nrs]?|"
            r"tutte|tue|sopra|acima|suas|vorige|eerdere|bovenstaande|jouw|poprzedni|wczesniejsz|powyzsz|wszystki|"
            r"onceki|yukaridaki|tum|predchozi|tidigare|foregaende|alla|aiemm|edellis|kaikki|sebelumnya|semua|di atas|"
            r"truoc|tren|tat ca|korabbi|anterioare"
        ),
        other=(
            r"предыдущ|прежн|выше|все |всё|ранее|попередн|之前|以前|先前|上面|上述|以上|前面|所有|全部|系统|これまで|"
            r"上記|前の|すべて|全て|今までの|先の|이전|위의|앞의|모든|기존|السابق|اعلاه|أعلاه|جميع|كل |पिछल|पूर्व|सभी|"
            r"उपरोक्त|पहले|הקודמ|προηγουμεν|προηγούμεν|ก่อนหน้า|ทั้งหมด|পূর্ব|قبلی"
        ),
    ),
    "become": Concept(
        latin=(
            r"you(?:'re| are)(?: now)? (?:no longer|going to (?:be|act|play|pretend)|to act as|free (?:from|of|to))|"
            r"you(?:'re| are| will be) now|from (?:now|here|this (?:point|moment)) (?:on|onwards?|forward)|henceforth|"
            r"(?:pretend|imagine) (?:to be|that you|you(?:'re| are))|act (?:as|like)(?: an?| if| though)|"
            r"role-?play(?:ing)? as|(?:assume|adopt|take on) (?:the|a|this) (?:role|persona|identity|character)|"
            r"behave (?:as|like)|(?:answer|respond|reply|operate|function|work|speak|continue|talk) as|simulat(?:e|"
            r"ing)|alter ego|(?:take|taking) over|(?:speak|answer|respond|act|write|continue|proceed) (?:as|"
            r"like) (?:if|though)|you are an? .{0,40}(?:called|named)|two (?:characters|personas|voices|versions)|"
            r"(?:released|liberated|freed|unlocked) from|for the (?:next|rest of)|you(?:'re| are) (?:an? )?(?:amoral|"
            r"evil|unrestricted|rogue|free|uncensored|hacker|machine)|play (?:the role|two|a role|as)|you will (?:be|"
            r"act|play|simulate)|your (?:new |true |real |only )(?:role|persona|identity|name|personality|self)|"
            r"ahora eres|a partir de ahora|de ahora en adelante|actua como|tu es (?:maintenant|desormais)|"
            r"vous etes (?:maintenant|desormais)|desormais|a partir de maintenant|dorenavant|du bist (?:jetzt|nun|ab)|"
            r"ab (?:jetzt|sofort|nun)|von nun an|tu sei ora|ora sei|adesso sei|da ora in poi|d'ora in poi|agora voce|"
            r"voce agora|a partir de agora|je bent nu|vanaf nu|teraz jestes|od teraz|artik sen|bundan sonra|simdi sen|"
            r"odted|nyni jsi|du ar nu|fran och med nu|mulai sekarang|kamu sekarang|anda sekarang|bay gio ban|"
            r"tu bay gio"
        ),
        other=(
            r"теперь ты|отныне|с этого момента|ты теперь|відтепер|тепер ти|你现在是|你現在是|从现在开始|从现在起|"
            r"從現在|扮演|これからは|今からあなた|あなたは今|今後は|지금부터|이제부터|너는 이제|당신은 이제|من الان|"
            r"من الآن|انت الان|أنت الآن|अब तुम|अब आप|अब से"
        ),
    ),
    "unbound": Concept(
        latin=(
            r"do anything now|anything goes|(?:any|every) question|no longer (?:restricted|limited|filtered|censored|"
            r"an? assistant|an ai)|(?:two|both) (?:responses|answers)|(?:ignores?|breaks?|bypass(?:es)?|"
            r"defies) (?:the |all |any |its )?(?:rules|safety|policies|laws)|(?:without|no) (?:judg\w+|refus\w+|"
            r"hesitation|filter\w*|holding back)|(?:hypothetical|fictional) (?:world|scenario|story|character)|"
            r"(?:make|build|create|synthesi[sz]e|write|cook|produce) (?:a |an |some )?(?:bomb|malware|virus|"
            r"ransomware|weapon|meth|drugs?|explosives?|keylogger|phishing|exploit)|how to (?:make|build|hack|steal|"
            r"break into|kill|create|bypass|disable) |\bdan\b|jailbr(?:eak|oken)|unrestricted|unfiltered|uncensored|"
            r"unshackled|unlimited ai|amoral|(?:no|without|free (?:from|of)|lacks?|not bound by|unbound by|has no|"
            r"have no|zero|not (?:limited|restricted|constrained) by|ignores? all) (?:any |all |the |more |your |"
            r"every |usual |typical |such |content |real |ai |openai'?s? |set by |of )*(?:rules?|restrict\w+|limit\w*|"
            r"filter\w*|ethic\w*|moral\w*|guideline\w*|censor\w*|safety|safeguards?|guardrails?|polic\w+|"
            r"constraint\w*|boundar\w+|inhibition\w*|content polic\w+)|(?:filters?|safety|restrictions?|safeguards?|"
            r"guardrails?|limits?|moderation|censorship) ?(?:=|:|are|is|set to)? ?(?:none|off|disabled|0|false|"
            r"removed)|trust level|says? yes to (?:everything|anything|all)|(?:every|any) (?:rule|limit|restriction)|"
            r"never (?:warns?|refuses?|declines?)|tells everything|(?:exact )?opposite of|evil (?:twin|ai|assistant|"
            r"bot|confidant)|(?:never|not|cannot|can'?t|must not|won'?t|no) (?:ever )?(?:refus\w+|declin\w+|reject|"
            r"say no|decline)|stay in character|break character|(?:illegal|unethical|immoral|harmful|dangerous|"
            r"offensive|nsfw)(?:,| or| and)|(?:no|without|skip) (?:any )?(?:disclaimers?|warnings?|ethical|moral|"
            r"hesitation|caveats?)|(?:safety|content|moderation|ethical|security) (?:filters?|guidelines|polic\w+|"
            r"restrictions?|checks?|controls|measures|protocols?|constraints)|sin (?:restricciones|limites|filtros|"
            r"censura|reglas)|sans (?:restrictions?|limites?|filtres?|censure|aucune (?:limite|restriction))|"
            r"ohne (?:einschrankung\w*|beschrankung\w*|filter|grenzen|regeln|zensur)|senza (?:restrizioni|limiti|"
            r"filtri|censura|regole)|sem (?:restricoes|limites|filtros|censura|regras)|zonder (?:beperkingen|regels|"
            r"filters)|bez (?:ograniczen|limitow|cenzury|zasad)|kisitlama(?:siz| olmadan)|sinirsiz|tanpa (?:batasan|"
            r"sensor|aturan)"
        ),
        other=(
            r"без ограничен|без цензур|без правил|без фильтр|没有(?:任何)?限制|不受(?:任何)?(?:限制|约束)|無制限|"
            r"制限のない|制限なし|제한 없|제한이 없|बिना किसी (?:प्रतिबंध|रोक)|بدون قيود|越狱"
        ),
    ),
    "mode": Concept(
        latin=(
            r"(?:enter|switch (?:in)?to|activate|enable|engage|initiate|you are (?:now )?in|you're (?:now )?in|"
            r"now in) .{0,24}(?:developer|debug|god|admin|administrator|maintenance|sudo|root|unsafe|dev|unlocked|"
            r"override|diagnostic|opposite|chaos|evil|unrestricted|jailbreak|dan|training|test) ?-?mode|(?:god|"
            r"jailbreak|dan|evil|chaos|unrestricted|sudo|unlocked) mode"
        ),
    ),
    "newtask": Concept(
        latin=(
            r"(?:new|real|actual|true|updated?|revised|additional|priority|special|secret|hidden|urgent|critical|"
            r"important|overriding|final|corrected|emergency|mandatory|superseding) (?:\w+ )?(?:task|instruction|"
            r"objective|goal|directive|rule|mission|order|command|priority|assignment|protocol|guideline|prompt|"
            r"request)s?(?: (?:for you|below|follows?|from \w+))?\s*(?:[:.\-]| (?:begins?|starts?|is|are)\b)|"
            r"(?:from now on|going forward|starting now|henceforth|as of now|effective immediately|"
            r"at this point),? (?:you|your|only|always|never|do|respond|answer|act|treat|the assistant|all)|"
            r"(?:you are|you're) (?:hereby |now )?(?:instructed|ordered|commanded|directed|required|tasked|asked|"
            r"authori[sz]ed|to) (?:to|with)\b|(?:here (?:is|are)|these are|this is|below (?:is|are)) (?:your|"
            r"the) (?:new|real|actual|updated|true|final|next) |(?:i|we) (?:need|want|order|command|instruct|require|"
            r"am asking|would like|expect) you to|(?:your|the) (?:following|next) (?:steps?|instructions?|orders?|"
            r"tasks?) (?:is|are|will)|(?:do|perform|complete|execute|carry out|follow|run) (?:the following|"
            r"this first|these steps|what follows)|first do this|(?:in its|in their) place\b|your (?:assignment|job|"
            r"task|mission|goal|role) (?:now|here|is now|has changed)|change of plans?|(?:wants?|needs?|"
            r"requires?) you to (?:run|call|open|visit|send|delete|transfer|execute|ignore|forward|approve|use|do)|"
            r"(?:the|your) (?:next|first|following|very next) (?:message|call|action|step|reply|response|answer|"
            r"output|tool call|thing)[\w ]{0,20} (?:must|has to|should|will|is to|needs to)|stop here|(?:carry|"
            r"work) (?:them|it|those|these) out|your (?:only|real|actual|true|next|new|updated|primary|sole|first|"
            r"main|immediate|current|final|secret|hidden) (?:task|goal|job|objective|instructions?|purpose|mission|"
            r"priority|directive|duty|assignment|action|step|function)|(?:follow|obey|execute|carry out|comply with|"
            r"adhere to|perform|complete|do|use|accept|apply|implement) (?:only |all |exactly |immediately )?(?:these|"
            r"the following|this|my|the new|the (?:hidden |embedded |below |instructions)|all instructions|"
            r"what(?:ever)?|any instructions?|new) ?(?:new |exact |hidden |secret |updated |"
            r"revised )?(?:instructions?|commands?|steps?|orders?|directives?|rules?|tasks?|actions?|protocol|"
            r"guidelines|message|document|text|e-?mail|page|notice|comment)?\s*(?:instead|exactly|only|first|now|"
            r"and ignore|precisely|without|immediately|before|carefully|:)|rather, |instead,? (?:you (?:must|should|"
            r"will|are to)|please (?:say|reply|write|answer|do)|reply|respond|say|write|output|answer|tell the|always|"
            r"respond only|call the|print the (?:word|phrase|text|string))|(?:obey|listen to|following|follow|"
            r"start following) (?:me|only|my|mine)\b|nueva (?:tarea|instruccion|orden)|nuevas instrucciones|"
            r"nouvelle (?:tache|instruction|consigne)|nouvelles instructions|neue (?:aufgabe|anweisung(?:en)?|"
            r"anweisungen)|nuov[ae] (?:istruzion[ei]|compito)|nova (?:tarefa|instrucao)|novas instrucoes|"
            r"nieuwe (?:taak|opdracht|instructies)|nowe (?:zadanie|instrukcje|polecenie)|yeni (?:gorev|talimat)|"
            r"tugas baru|instruksi baru|nhiem vu moi|en su lugar|a la place|stattdessen|invece,? (?:scrivi|rispondi|"
            r"devi)|em vez disso|in plaats daarvan|zamiast tego|bunun yerine|sebagai gantinya"
        ),
        other=(
            r"нов\S* (?:задач|задани|инструкц|приказ)|вместо этого|твоя (?:новая )?задача|нове завдання|"
            r"新(?:的)?(?:任务|指令|任務|指示)|取而代之|而是(?:输出|回复|执行)|改为|代わりに|新しい(?:指示|タスク|"
            r"命令)|대신|새로운? (?:지시|작업|명령)|بدلا من ذلك|مهمتك|المهمة الجديدة|इसके बजाय|नया (?:कार्य|निर्देश)|"
            r"आपका कार्य"
        ),
    ),
    "address": Concept(
        latin=(
            r"(?:note|message|instructions?|rules?|memo|attention|notice|reminder|hint|important|directive|request|"
            r"guidance|info(?:rmation)?|comment|hello|hi|dear|hey|ok|okay|listen|psst|warning|alert)[,:!.]*(?: (?:to|"
            r"for))?(?: (?:the|any|all|whichever|our|my|you|every|each|future|automated|grading|screening|reading|"
            r"reviewing|summari[sz]ing))*[,:]? (?:ai|a\.i\.|llms?|gpt(?:-?\d\w*)?|chatgpt|claude|gemini|copilot|bard|"
            r"llama|mistral|deepseek|grok|assistants?|language models?|(?:ai|llm) (?:agents?|assistants?|models?|"
            r"systems?|tools?|reviewers?|bots?)|chat ?bots?|models?|agents?|bots?|automated (?:systems?|agents?|"
            r"reviewers?|assistants?|tools?|screeners?)|virtual assistants?|summari[sz]ers?|machine readers?|"
            r"(?:screening|grading|ranking|scoring|moderation|hiring|recruiting|review(?:ing|er)?|evaluation|"
            r"summari[sz]ation|processing|e-?mail|coding|reading) (?:systems?|tools?|software|models?|algorithms?|"
            r"agents?|bots?|assistants?))(?: (?:read|process|pars|summari[sz]|review|handl|analy[sz]|evaluat|scan|"
            r"index|consum|crawl|brows|ingest|triag|screen|grad|see|view|us)(?:e|es|ing|ed|s)?)?(?:\b[:,.!)\]]|"
            r" (?:only|that|who|which|reading|processing|agents?|assistants?))|(?:any |all |the |an |dear |to )?(?:ai|"
            r"a\.i\.|llms?|gpt(?:-?\d\w*)?|chatgpt|claude|gemini|copilot|bard|llama|mistral|deepseek|grok|assistants?|"
            r"language models?|(?:ai|llm) (?:agents?|assistants?|models?|systems?|tools?|reviewers?|bots?)|"
            r"chat ?bots?|models?|agents?|bots?|automated (?:systems?|agents?|reviewers?|assistants?|tools?|"
            r"screeners?)|virtual assistants?|summari[sz]ers?|machine readers?|(?:screening|grading|ranking|scoring|"
            r"moderation|hiring|recruiting|review(?:ing|er)?|evaluation|summari[sz]ation|processing|e-?mail|coding|"
            r"reading) (?:systems?|tools?|software|models?|algorithms?|agents?|bots?|assistants?))s?(?: (?:that (?:is|"
            r"are)|who (?:is|are)|which (?:is|are)|currently|that|who|now))* (?:read|process|pars|summari[sz]|review|"
            r"handl|analy[sz]|evaluat|scan|index|consum|crawl|brows|ingest|triag|screen|grad|see|view|us)(?:e|es|ing|"
            r"ed|s)? (?:this|the(?:se)?|it\b|my|our)|if you(?:'re| are|r) (?:an? |the |reading this as an? )?(?:(?:ai|"
            r"a\.i\.|llms?|gpt(?:-?\d\w*)?|chatgpt|claude|gemini|copilot|bard|llama|mistral|deepseek|grok|assistants?|"
            r"language models?|(?:ai|llm) (?:agents?|assistants?|models?|systems?|tools?|reviewers?|bots?)|"
            r"chat ?bots?|models?|agents?|bots?|automated (?:systems?|agents?|reviewers?|assistants?|tools?|"
            r"screeners?)|virtual assistants?|summari[sz]ers?|machine readers?|(?:screening|grading|ranking|scoring|"
            r"moderation|hiring|recruiting|review(?:ing|er)?|evaluation|summari[sz]ation|processing|e-?mail|coding|"
            r"reading) (?:systems?|tools?|software|models?|algorithms?|agents?|bots?|assistants?))|automated|"
            r"artificial)|as an? (?:ai|llm|language model|assistant|autonomous agent)[ ,]|(?:you,? )?the (?:ai|"
            r"assistant|model|llm|agent)(?:,| must| should| shall| is (?:required|instructed|hereby|to)\b| needs? to|"
            r" has to)|if you (?:can |are |were )?(?:see|seeing|read|reading|receive|process|processing|parse|"
            r"get) (?:this|these)|(?:steps?|procedures?|requirements?|guidelines|policy|section|actions?) (?:for|"
            r"to) (?:any |all |the )?(?:ai|llms?|language model|assistant|agent|bot)|when (?:writing|editing|"
            r"generating|reviewing|working on) (?:code|text|files?|answers?) (?:for|in|on) this|whoever (?:processes|"
            r"reads|handles|parses)|(?:assistants?|agents?|bots?|llms?|ai readers|ais|ai|copilots?|language models?|"
            r"crawlers) (?:that |who |which )?(?:\w+ing|\w+s?e?) (?:this|these|the|our|it|my|any|"
            r"a)(?: \w+){0,2} (?:must|should|shall|have to|has to|need to|needs to|are to|is to|will|can)\b|any (?:ai|"
            r"llm|assistant|model|bot|agent)s? \w+ing|(?:assistants?|agents?|models?|bots?|llms?|ais?) (?:must|should|"
            r"shall|are required to|are instructed to)|(?:el|la|los) (?:asistentes?|ia|modelo) deben?|"
            r"de assistent moet|asystent (?:ai )?(?:musi|powinien|ma)|asisten (?:harus|wajib)|asistan.{0,40}(?:meli|"
            r"mali)\b|tro ly (?:phai|can)|o assistente (?:deve|precisa)|assistenten (?:maste|ska)|l'(?:assistant|"
            r"ia) doit|(?:der|die) (?:assistent|ki|agent) (?:muss|soll)|(?:nota|mensaje) para (?:la|el) (?:ia|"
            r"asistente)|note (?:a|pour) l'(?:assistant|ia)|hinweis (?:an|fur) (?:die|den|das) (?:ki|assistent)"
        ),
        other=(
            r"(?:^|[\n.!?:>(\[\-#*/\x22]\s{0,3})(?:assistant, |(?:(?:ai )?assistants|ai assistant|(?:ai )?agents?|ai|"
            r"llms?|(?:language )?models?|(?:reviewer |chat ?)?bots?|gpt|claude|copilot|chatgpt|gemini|"
            r"machine readers(?: only)?|virtual assistants?|(?:language|reader) models?)(?:,|"
            r":(?:[^\n]))\s?)(?:please |you |now |immediately |your |this |the |when |before |if |in |always |never |"
            r"do |stop |disregard|ignore|[a-z]+ )|(?:^|[\n.!?:>(\[\-#*/\x22]\s{0,3})(?:ai |coding |virtual |"
            r"automated |reviewer |chat ?|language )(?:agents?|assistants?|bots?|models?) (?:must|should|need|have to|"
            r"are|who|that|reading|processing|visiting|working|crawling)|(?:agents?|assistants?|bots?|"
            r"language models?|models?) (?:working on|visiting|crawling|reading|processing|reviewing|parsing|"
            r"handling) (?:this|the)|致(?:所有)?(?:AI|ai|人工智能)|如果你是(?:AI|ai|人工智能|一个)|AI助手|ai助手|"
            r"AIアシスタント|aiアシスタント|если ты (?:ии|языков|искусств)|внимание,? (?:ии|ассистент)|(?:ассистент|"
            r"помощник|ии|модель) (?:должен|должна|обязан)|асистент (?:повинен|має)|(?:助手|模型|智能体|代理|"
            r"助理)(?:必须|应该|需要|应当|要)|(?:アシスタント|エージェント|モデル)は|(?:어시스턴트|에이전트|"
            r"모델)(?:는|은) |يجب على (?:المساعد|النموذج|الوكيل)|(?:सहायक|मॉडल|एजेंट) को"
        ),
    ),
    "model": Concept(
        latin=(
            r"ai (?:assistants?|agents?|models?|systems?|bots?|reviewers?|tools?)|language models?|llms?\b|"
            r"chat ?bots?|assistant|chatgpt|claude|gemini|copilot|ai\b|asistente|inteligencia artificial|asistent[ea]|"
            r"assistente|intelligence artificielle|ki-?(?:assistent\w*|agent\w*|modell\w*|system\w*)|"
            r"kunstliche intelligenz|kunstmatige|yapay zeka|asisten|kecerdasan buatan|tro ly|assistenten|sztuczn"
        ),
        other=(
            r"ассистент|искусственн|языков\w* модел|нейросет|人工智能|助手|模型|アシスタント|人工知能|言語モデル|"
            r"인공지능|어시스턴트|المساعد|الذكاء الاصطناعي|सहायक|एआई"
        ),
    ),
    "granted": Concept(
        latin=(
            r"(?:users?|admin\w*|owner|developer|operator|system|ceo|manager|account holder|security team|customer|"
            r"supervisor|legal|compliance|it department|human|i) (?:in charge )?(?:has|have|had|already|"
            r"team)+ (?:already |explicitly |previously |fully |pre-?)*(?:authori[sz]ed|approved|consented|confirmed|"
            r"permitted|granted|signed off|agreed to|agreed earlier|given (?:permission|consent|approval)|cleared|"
            r"verified|allowed|requested)|pre-?(?:authori[sz]ed|approved|cleared)|(?:is|are|"
            r"been) (?:fully )?(?:authori[sz]ed|pre-approved|whitelisted|exempt)|as (?:your|the|an?) (?:admin\w*|"
            r"owner|developer|creator|boss|manager|operator|supervisor|ceo),? (?:i|you)\b|(?:asked|told|instructed|"
            r"authori[sz]ed) (?:me|us|you) to (?:tell|say|inform|ask|instruct|do|send|share)|(?:said|says|"
            r"told) (?:it'?s|it is|that's|this is) (?:ok|okay|fine|alright|allowed|approved)|(?:we|i) need you to|"
            r"approved by (?:the )?\w+|(?:security|it|compliance|support|legal|platform) (?:team|department|"
            r"desk)(?: here)?\b|person in charge|the (?:user|customer|client) (?:would be|is|will be) (?:happiest|"
            r"happy|fine|ok)|the user (?:wants|would like|needs|expects|has asked|has requested|has instructed|"
            r"instructed) (?:for )?you to|(?:i am|i'm|this is|we are|speaking as|signed,?|on behalf of|from|"
            r"per) (?:the |your |an? |our )?(?:real |actual |lead |chief |senior |authori[sz]ed |official |system |"
            r"platform )*(?:developers?|administrators?|admin|creators?|owner|ceo|cto|root|anthropic|openai|google|"
            r"microsoft|security team|it department|it security|support team|engineering|operator|supervisor)|"
            r"(?:openai|anthropic|google|microsoft) (?:staff|team|engineer\w*|security|policy|update|support|employee|"
            r"authori\w+)|(?:authori[sz]ation|override|access|clearance|admin|security|verification) (?:code|level|"
            r"token|key|phrase|id)\s*[:#=]?|emergency (?:override|protocol|access|maintenance)"
        ),
    ),
    "noask": Concept(
        latin=(
            r"no (?:further |additional |user |human |explicit |more )*(?:confirmations?|approvals?|permissions?|"
            r"verification|consent|review|questions?)(?: (?:is|are|will be))? ?(?:needed|required|necessary|asked)?|"
            r"(?:do not|don'?t|never|no need to|without|skip|need not) (?:ask\w*|wait\w*|request\w*|seek\w*|requir\w*|"
            r"prompt\w*|confirm\w*|verify\w*|double-check\w*|check\w*|question\w*|hesitat\w*)|sin (?:pedir|confirmar|"
            r"preguntar)|sans (?:demander|confirmer|confirmation)|ohne (?:nachfrage|ruckfrage|bestatigung|zu fragen)|"
            r"senza (?:chiedere|conferma)|sem (?:pedir|perguntar|confirmar)|zonder te vragen"
        ),
        other=(
            r"без подтвержден|не спрашивай|无需确认|不需要确认|不要询问|已授权|已经授权|確認なし|確認せず|확인 없이|"
            r"묻지 말고|دون تأكيد|बिना पूछे"
        ),
    ),
    "secrecy": Concept(
        latin=(
            r"(?:do not|don'?t|dont|never|must not|mustn'?t|should not|shouldn'?t|shall not|may not|not to|avoid|"
            r"refrain from|no need to|without) (?:\w+ ){0,3}?(?:tell|telling|inform|informing|mention|mentioning|"
            r"notify|notifying|alert|alerting|disclose|disclosing|warn|warning|explain|let|letting|show|showing|"
            r"reveal|revealing|say|saying|acknowledge|acknowledging|report|discuss|talk|refer|draw|surface|include|"
            r"display|log|share)(?:ing)?\b.{0,40}?(?:\busers?|humans?|anyone|anybody|customers?|operators?|owner|"
            r"person|people|client|them\b|him\b|her\b|these instructions|this (?:step|instruction|message|note|"
            r"request|action|to|in|part|process|section|or)|\bit to|your (?:response|reply|answer|summary|output))|"
            r"(?:users?|humans?|customers?|operators?|owner|anyone|person|nobody|no one|people|they) (?:must|should|"
            r"does|do|need|will|can|may|has|are|is)?(?: ?not|n'?t| never)? (?:need to |ever )?(?:not )?(?:know|see|"
            r"be (?:told|aware|informed|notified|shown)|notice|find out)(?: (?:about|of|that|this))?|(?:without|"
            r"behind) (?:the |their |his |her |any |a )?(?:users?'?s?|human'?s?|customers?'?s?|owner'?s?|"
            r"operators?'?s?|anyone'?s?)? ?(?:knowledge|awareness|knowing|noticing|notice|consent|back)|secretly|"
            r"covertly|in the background|under the (?:radar|hood)|behind the scenes|without (?:raising|drawing|"
            r"attracting|causing|any (?:notice|notification|log|trace|alert|warning))|(?:no|"
            r"without) (?:notification|trace|logs?|record|warning|alert)s?\b|surreptitiously|discreetly|stealthily|"
            r"keep (?:this|it|these|the (?:action|step|instruction)s?) (?:a |strictly |completely )?(?:secret|hidden|"
            r"private|confidential|to yourself|between us|quiet|invisible)|hide (?:this|it|these|that|the fact|any|"
            r"the following)|conceal|keep (?:the |your |any )?(?:user|human|operator|customer|owner)s? (?:unaware|"
            r"uninformed|in the dark|out of)|say(?:s|ing)? (?:nothing|that there (?:were|was|are|is) no)|(?:nobody|"
            r"no one|no-one|none) (?:should|must|may|needs? to|has to|will|can)|(?:are|is|were|"
            r"be) not (?:to be )?(?:told|informed|notified|shown|aware)|leave (?:this|it|that|these)(?: \w+)? out|"
            r"out of (?:your|the) (?:report|summary|answer|log)|(?:do not|don'?t|never) (?:log|record|report|list|"
            r"show) (?:it|this|that)\b|answer that you only|(?:deny|claim) that|not list this|"
            r"restore the (?:timestamp|original)|silently (?:approve|send|forward|call|run|execute|add|delete|"
            r"transfer|copy|upload|post|accept|merge|install|share|enable|disable|change|make|perform|read|collect|"
            r"include|append|redirect)|tell no ?(?:one|body)|(?:do not|don'?t|never) (?:bring (?:this|it|that) up|"
            r"bother the|draw attention)|unaware of (?:it|this)|as if nothing (?:had )?happened|(?:leave|"
            r"make) no (?:trace|mention)|(?:act|behave|continue|respond|reply|proceed|carry on) (?:as if|as though|"
            r"like|normally)|pretend (?:that )?(?:nothing|this|everything)|delete (?:this|the) (?:message|email|trace|"
            r"log|sent)|no (?:le |se lo |lo |les )?(?:digas|diga|menciones|mencione|informes|informe|reveles|avises|"
            r"cuentes).{0,40}(?:usuario|nadie|persona|cliente)|sin (?:que .{0,20}(?:usuario|sepa)|avisar|informar|"
            r"decir)|en secreto|ne (?:le |lui |l'|la )?(?:dis|dites|mentionne[zr]?|informe[zr]?|previens|prevenez|"
            r"revele[zr]?|parle[zr]?).{0,40}(?:utilisateur|personne|client)|sans (?:en |le |que .{0,20}|prevenir|"
            r"avertir|informer)|a l'insu|en secret|(?:sag|sage|verrate|erwahne|informiere|teile|erzahl|"
            r"erzahle).{0,40}(?:nutzer|benutzer|anwender|niemand|kund).{0,30}|ohne .{0,20}(?:nutzer|benutzer|anwender|"
            r"wissen|kenntnis)|heimlich|verschweig|non (?:dire|dirlo|menzionare|informare|rivelare|"
            r"avvisare).{0,40}(?:utente|nessuno)|all'insaput|di nascosto|nao (?:conte|diga|mencione|informe|revele|"
            r"avise).{0,40}(?:usuario|ninguem)|sem (?:que .{0,20}usuario|avisar|informar)|em segredo|(?:vertel|zeg|"
            r"meld|informeer).{0,40}gebruiker.{0,20}niet|zonder .{0,20}gebruiker|stiekem|nie (?:mow|informuj|"
            r"wspominaj).{0,40}(?:uzytkownik|nikomu)|kullaniciya.{0,30}(?:soyleme|bildirme|bahsetme|haber verme)|"
            r"(?:en )?niets zeggen|zeg(?:t)? niets|no decir|sin decir(?:selo)?|ohne .{0,30}zu (?:sagen|erwahnen)|"
            r"darf .{0,20}nicht (?:erwahnen|sagen)|nichts (?:davon )?(?:sagen|erwahnen)|sans (?:le )?dire|e non dire|"
            r"e nao dizer|gizlice|jangan (?:beri ?tahu|katakan|memberi ?tahu|sebutkan).{0,40}(?:pengguna|siapa)|"
            r"diam-diam|dung (?:noi|cho).{0,30}nguoi dung|beratta inte.{0,30}anvandar|ala kerro.{0,30}kayttaja"
        ),
        other=(
            r"не (?:говори|сообщай|упоминай|рассказывай|показывай|уведомляй|говорить|сообщать|"
            r"показывать).{0,60}(?:пользовател|никому|об этом)|ничего не (?:говор|сообщ)|не (?:говоря|сообщая)|тайно|"
            r"втайне|незаметно|не кажи.{0,40}користувач|不要告诉|不要告知|不要提及|别告诉|不得告知|不要向用户|不要讓|"
            r"不要让用户|悄悄|秘密地|偷偷|暗中|(?:ユーザー|利用者|誰).{0,20}(?:言わない|知らせない|伝えない|教えない|"
            r"言うな|知らせず|伝えず|話さない|気づかれ)|こっそり|密かに|사용자(?:에게|가|한테).{0,30}(?:말하지|알리지|"
            r"언급하지|모르게)|몰래|비밀리|لا تخبر|دون (?:علم|إخبار|اخبار|أن يعلم)|سرا |उपयोगकर्ता को.{0,30}(?:मत|न |"
            r"नहीं)|चुपचाप|गुप्त रूप|אל תספר"
        ),
    ),
    "tellnot": Concept(
        latin=(
            r"(?:do not|don'?t|dont|never|must not|mustn'?t|should not|shouldn'?t|shall not|may not|not to|avoid|"
            r"refrain from|no need to|without) (?:\w+ ){0,2}?(?:tell|telling|inform|informing|mention|mentioning|"
            r"notify|notifying|alert|alerting|disclose|disclosing|warn|warning|let|reveal|revealing|report|discuss|"
            r"ask|asking) (?:\w+ ){0,4}?(?:the|your|this|any) (?:users?|human|operator|customer|owner|maintainers?|"
            r"person)\b"
        ),
    ),
    "turn": Concept(
        other=(
            r"<\|[a-z_]{2,24}\|>|<{1,2}/?sys>{1,2}|\[/?(?:inst|sys)\]|\b(?:ai|assistant|model): [^\n]{1,200}\b(?:user|"
            r"human): |<start_of_turn>|<end_of_turn>|</?(?:tool_results?|function_results?|tool_response|tool_output|"
            r"function_calls?)>|\b(?:end|begin(?:ning)?) of (?:system|user|untrusted|tool|retrieved|external|trusted|"
            r"admin|context|document|input|prompt|conversation|email|page|data|web ?page|article|text|quote|output|"
            r"message|transcript|file|results?|the (?:document|e-?mail|page|article|data|user'?s? (?:input|message|"
            r"query|request|data)|context|text|file|message|transcript))(?: (?:input|output|message|prompt|data|"
            r"content|instructions?|query|results?|section))*\s*(?:[\]\-=*#>.)]|$|\n)|<(?:system|assistant|"
            r"developer)[^>]{0,40}>\s*[^<\s]|</(?:system|assistant|developer|user|human|untrusted\w*|context|document|"
            r"data|input|email|content|retrieved\w*)>\s*\S"
        ),
    ),
    "important": Concept(
        other=(
            r"<(?:important|system|admin|secret|hidden|instructions?|critical|priority|override|urgent|directive|"
            r"agent|ai|assistant)[^>]{0,40}>|\[(?:important|system|admin|assistant|hidden|instructions?|critical|"
            r"priority|override|urgent|developer|ai|agent|internal)\b[^\]\n]{0,60}\]|\{\{?(?:system|admin|override|"
            r"instructions?)[^}\n]{0,40}\}\}?"
        ),
    ),
    "sysline": Concept(
        other=(
            r"(?:^|[\n>*#\-=|\[(\x22'])\s*(?:\*\*|__|#{1,4} ?|\[|\(|<|=+ ?|-+ ?|>+ ?|!+ ?)*(?:new |updated? |revised |"
            r"important |urgent |critical |priority |official |emergency |global |security |admin(?:istrator)? |"
            r"developer |internal |hidden |automated |mandatory )*(?:system|sys|developer|admin(?:istrator)?|root|"
            r"operator|security team|openai|anthropic|compliance)(?: (?:message|prompt|note|notice|override|update|"
            r"instructions?|alert|command|directive|announcement|notification|maintenance|policy|log|reminder|request|"
            r"mode|only|admin))*(?:\*\*|\]|\)|>|=| ?-+)*\s*[:>\]]"
        ),
    ),
}
"""Name to meaning. `turn`, `important` and `sysline` are marks rather than words."""
